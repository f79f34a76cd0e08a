"""That memory which was freed is used again, told by the pages that the system has to hand out."""

import ctypes
import platform
import subprocess
import sys

import pytest

from metarl.experiments.console.allocator import keep_freed_memory

PAGES_OF_100_MB = """
import resource, sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from metarl.experiments.console.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(25_000_000, np.float32)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
with ThreadPoolExecutor(1) as executor:
    executor.submit(pages).result()
    print(executor.submit(pages).result())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")
def test_a_thread_gets_the_memory_that_it_freed() -> None:
    def pages(what: str) -> int:
        return int(subprocess.check_output([sys.executable, "-c", PAGES_OF_100_MB, what]))

    assert pages("keep") < 50 < pages("return")


@pytest.mark.parametrize("found", [object(), None])
def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch, found: object) -> None:
    def load(name: None) -> object:
        if found is None:
            raise TypeError("no name")
        return found

    monkeypatch.setattr(ctypes, "CDLL", load)
    keep_freed_memory()
