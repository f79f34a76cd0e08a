"""Control how the process gets its memory from the system."""

from __future__ import annotations

import ctypes

# Of glibc's <malloc.h>, with the values for mallopt.
TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
LARGEST = 2**31 - 1


def keep_freed_memory() -> None:
    """Make glibc keep freed memory for the next allocation, in one pool for all threads; do nothing on other systems.

    Tensors of images are large, and each lives for one operation. By default glibc returns such memory to the system
    and takes fresh pages for the next tensor, which costs a third of the time of training on 84 x 84 images. The price
    is a larger resident set. Threads that have allocated before keep their pools.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):
        return
    for option, value in ((ARENA_MAX, 1), (MMAP_THRESHOLD, LARGEST), (TRIM_THRESHOLD, LARGEST)):
        mallopt(option, value)
