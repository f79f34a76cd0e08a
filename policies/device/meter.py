"""Measures the memory of an adaptation: the bytes of the arrays that are alive, and their peak."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

AnyArray = TypeVar("AnyArray", bound=NDArray[Any])


class Meter:
    """Every array of a step comes from here and counts until Python frees it: nobody has to say that it is done.

    ``alive`` and ``peak`` are in bytes.
    """

    def __init__(self) -> None:
        self.alive = 0
        self.peak = 0
        self._references: dict[int, weakref.ref[Any]] = {}

    def zeros(self, *shape: int) -> NDArray[np.float32]:
        """Return a counted array of zeros."""
        return self.count(np.zeros(shape, np.float32))

    def empty(self, *shape: int) -> NDArray[np.float32]:
        """Return a counted array whose numbers are not set."""
        return self.count(np.empty(shape, np.float32))

    def count(self, array: AnyArray) -> AnyArray:
        """The same array, which must own its memory, counted from now on."""
        assert array.base is None, "a view keeps alive more than its own bytes"
        self._grow(array.nbytes)
        self._references[id(array)] = weakref.ref(array, partial(self._shrink, id(array), array.nbytes))
        return array

    def resize(self, array: NDArray[Any], words: int) -> None:
        """Gives a counted vector another length where it stands; there must be no views of it."""
        self.hand_over(array)
        array.resize(words, refcheck=False)
        self.count(array)

    def hand_over(self, array: NDArray[Any]) -> None:
        """Counts an array no longer, because it outlives the step in the place of another that was there before."""
        self._shrink(id(array), array.nbytes)

    @contextmanager
    def reserve(self, count: int) -> Iterator[None]:
        """Counts so many bytes that somebody else allocates meanwhile."""
        self._grow(count)
        yield
        self.alive -= count

    def _grow(self, count: int) -> None:
        self.alive += count
        self.peak = max(self.peak, self.alive)

    def _shrink(self, identity: int, count: int, _: object = None) -> None:
        del self._references[identity]
        self.alive -= count
