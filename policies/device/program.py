"""The device program: an adaptation step as data, operations on named buffers.

A program is a sequence of phases. A phase runs once, or once for every recorded episode. Each of its stages runs once
or, within an episode, for one block of time steps after the other. A stage is a list of operations, each a kernel and
its operands. The planner (``planner``) derives the buffers' lifetimes and places them in one arena, the NumPy runner
(``runner``) executes the program in that arena, and the C exporter (``metarl.policies.export``) prints it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

Element = Literal["float32", "float64", "int8", "int16", "int32", "uint8", "uint32"]
Operand = str | int | float | None  # the name of a buffer or of a layer, a number, or nothing


@dataclass(frozen=True, slots=True)
class Buffer:
    """A piece of working memory.

    Attributes:
        name: The name by which operations refer to it.
        shape: Its shape, in elements.
        element: The type of its elements.
        overwrites: The buffer whose memory it takes over, from the same first byte on; None for memory of its own.
        by_row: Whether the first axis is the time steps of the block in work, of which there may be fewer.
        grows: Whether its size follows the data: how many channels attention keeps.
        scratch: Whether its value is of no use beyond the operation that writes it.
    """

    name: str
    shape: tuple[int, ...]
    element: Element = "float32"
    overwrites: str | None = None
    by_row: bool = False
    grows: bool = False
    scratch: bool = False

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def width(self) -> int:
        """The bytes of an element."""
        return np.dtype(self.element).itemsize

    @property
    def bytes(self) -> int:
        """The bytes of all elements."""
        return self.size * self.width


class Buffers(dict[str, Buffer]):
    """The buffers of a program by their names, in the order in which they were added."""

    def add(self, buffer: Buffer) -> str:
        """Add a buffer, which may be there already, and return its name."""
        assert self.get(buffer.name, buffer) == buffer, f"there is another buffer {buffer.name}"
        self[buffer.name] = buffer
        return buffer.name

    def owner(self, name: str) -> str:
        """Return the buffer that owns the memory of the buffer ``name``."""
        while (overwritten := self[name].overwrites) is not None:
            name = overwritten
        return name

    def room(self, name: str) -> int:
        """Return the number of elements for which the memory of the buffer ``name`` has room."""
        return max(buffer.size for other, buffer in self.items() if self.owner(other) == self.owner(name))

    def owned_bytes(self) -> dict[str, int]:
        """Return the bytes of each buffer with memory of its own, which has room for all that overwrite it."""
        sizes: dict[str, int] = {}
        for name, buffer in self.items():
            owner = self.owner(name)
            sizes[owner] = max(sizes.get(owner, 0), buffer.bytes)
        return sizes


@dataclass(frozen=True, slots=True)
class Operation:
    """A call of a kernel, which the NumPy runner and the C library both have under this name."""

    kernel: str
    operands: tuple[Operand, ...]


@dataclass(frozen=True)
class Stage:
    """Operations that run together: once or, with ``rows``, for each block of that many time steps of an episode."""

    name: str
    operations: tuple[Operation, ...]
    rows: int | None = None


@dataclass(frozen=True)
class Phase:
    """Stages that run one after the other: once, or for each recorded episode."""

    name: str
    stages: tuple[Stage, ...]
    every_episode: bool = False


@dataclass(frozen=True)
class Program:
    """Phases in their order, and the buffers that their operations name."""

    phases: tuple[Phase, ...]
    buffers: Buffers

    def stages(self) -> Iterator[Stage]:
        """Yield all stages in their order."""
        for phase in self.phases:
            yield from phase.stages

    def used(self, operation: Operation) -> list[Buffer]:
        """Return the buffers among an operation's operands."""
        return [self.buffers[each] for each in operation.operands if isinstance(each, str) and each in self.buffers]
