"""What Python and NumPy allocate during a call."""

import tracemalloc
from collections.abc import Callable


def traced_peak(function: Callable[[], object]) -> int:
    """The most bytes that Python and NumPy held during a call, beyond what they held before it."""
    tracemalloc.start()
    function()  # fills Python's own free lists
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    function()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak - before
