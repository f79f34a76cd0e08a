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
    """Counts the bytes of arrays from their allocation until Python frees them.

    Attributes:
        alive: The bytes of the arrays that exist.
        peak: The most bytes that existed at a time.
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
        """Count an array, which must own its memory, from now on, and return it."""
        assert array.base is None, "a view keeps alive more than its own bytes"
        self._grow(array.nbytes)
        self._references[id(array)] = weakref.ref(array, partial(self._shrink, id(array), array.nbytes))
        return array

    def resize(self, array: NDArray[Any], words: int) -> None:
        """Give a counted vector another length in place; its views must not be used afterwards."""
        self.hand_over(array)
        array.resize(words, refcheck=False)
        self.count(array)

    def hand_over(self, array: NDArray[Any]) -> None:
        """Stop counting an array that outlives the step because it replaces one that was there before."""
        self._shrink(id(array), array.nbytes)

    @contextmanager
    def reserve(self, count: int) -> Iterator[None]:
        """Count bytes that other code allocates within the context."""
        self._grow(count)
        yield
        self.alive -= count

    def _grow(self, count: int) -> None:
        self.alive += count
        self.peak = max(self.peak, self.alive)

    def _shrink(self, identity: int, count: int, _: object = None) -> None:
        del self._references[identity]
        self.alive -= count
