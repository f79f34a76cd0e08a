"""Count the threads there are, and limit those of torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


def available_threads() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def single_threaded_torch() -> Iterator[None]:
    """Give torch one thread inside: threads of our own fill the cores, and small products gain nothing from more."""
    import torch  # here, because the processes that step environments do without it

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
