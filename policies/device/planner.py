"""The place of every buffer of a device program in one arena: from lifetimes to offsets.

Buffers that are never alive at the same time share memory. Buffers whose size follows the data stand behind all others
that are alive while they are, so that the arena can grow in place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from metarl.policies.device.program import Buffer, Program


@dataclass(frozen=True, slots=True)
class Span:
    """Operations in a row, by their positions in the program."""

    first: int
    last: int

    def overlaps(self, other: Span) -> bool:
        """Return whether there is an operation in both."""
        return self.first <= other.last and other.first <= self.last

    def over(self, loop: Span) -> Span:
        """Return the span of a value that outlives a turn of a loop: it lasts for the whole loop."""
        if not self.overlaps(loop) or (loop.first <= self.first and self.last <= loop.last):
            return self
        return Span(min(self.first, loop.first), max(self.last, loop.last))


Lifetime = tuple[Span, ...]  # when a buffer holds a value


@dataclass(frozen=True)
class Plan:
    """Where the buffers of a program lie: ``offsets`` in an arena of ``bytes``, by the buffers' names."""

    program: Program
    offsets: Mapping[str, int]
    bytes: int


def plan(program: Program) -> Plan:
    """Return a plan in which no two buffers that are alive at the same time overlap.

    Growing buffers stand behind all others; in programs of integers, where that takes less, behind those alone that are
    alive while they are. Sizes do not decide it: buffers must not move while others grow.
    """
    alive = lifetimes(program)
    if not any(program.buffers[name].element == "int8" for name in alive):
        return _placed(program, alive, set(alive))
    growing = [name for name in alive if program.buffers[name].grows]
    beside = {name for name in alive if any(overlap(alive[name], alive[other]) for other in growing)}
    return _placed(program, alive, beside)


def _placed(program: Program, alive: dict[str, Lifetime], before: set[str]) -> Plan:
    """Return a plan whose growing buffers stand behind the buffers ``before``.

    These are placed first, and larger buffers before smaller ones, each at the lowest offset that is free during its
    lifetime.
    """
    buffers = program.buffers
    sizes = buffers.owned_bytes()
    placed: dict[str, int] = {}
    for name in sorted(alive, key=lambda name: (name not in before, -sizes[name])):
        if not buffers[name].grows:
            others = [other for other in placed if overlap(alive[name], alive[other])]
            taken = sorted((placed[other], placed[other] + sizes[other]) for other in others)
            placed[name] = _lowest(taken, sizes[name], buffers[name])
    end = max((offset + sizes[name] for name, offset in placed.items() if name in before), default=0)
    for name in alive:
        if buffers[name].grows:
            placed[name] = _aligned(end, buffers[name])
            end = placed[name] + sizes[name]
    total = max((offset + sizes[name] for name, offset in placed.items()), default=0)
    return Plan(program, {name: placed[buffers.owner(name)] for name in buffers}, total)


def overlap(first: Lifetime, second: Lifetime) -> bool:
    """Return whether there is an operation during which both are alive."""
    return any(span.overlaps(other) for span in first for other in second)


def lifetimes(program: Program) -> dict[str, Lifetime]:
    """Return when the memory of each buffer that owns some is in use.

    A value that is written and read within one turn of a loop is dead between the turns; any other value that a loop
    reads or writes is alive during the whole loop. Scratch memory is in use during single operations.
    """
    used = _positions(program)
    loops = list(_loops(program))
    alive: dict[str, Lifetime] = {}
    for name, positions in used.items():
        if program.buffers[name].scratch:
            alive[name] = tuple(Span(position, position) for position in positions)
            continue
        span = Span(positions[0], positions[-1])
        for loop in loops:
            span = span.over(loop)
        alive[name] = (span,)
    return alive


def _positions(program: Program) -> dict[str, list[int]]:
    """Return the positions of the operations that use the memory of each buffer that owns some."""
    used: dict[str, list[int]] = {}
    operations = (operation for stage in program.stages() for operation in stage.operations)
    for position, operation in enumerate(operations):
        for buffer in program.used(operation):
            used.setdefault(program.buffers.owner(buffer.name), []).append(position)
    return used


def _loops(program: Program) -> Iterator[Span]:
    """Yield the operations that each loop repeats, inner loops before outer ones."""
    position = 0
    for phase in program.phases:
        start = position
        for stage in phase.stages:
            if stage.rows is not None:
                yield Span(position, position + len(stage.operations) - 1)
            position += len(stage.operations)
        if phase.every_episode:
            yield Span(start, position - 1)


def _lowest(taken: list[tuple[int, int]], size: int, buffer: Buffer) -> int:
    """Return the lowest offset of ``size`` bytes outside the ``taken`` pieces, which are sorted."""
    offset = 0
    for start, stop in taken:
        if offset + size <= start:
            break
        offset = max(offset, _aligned(stop, buffer))
    return offset


def _aligned(offset: int, buffer: Buffer) -> int:
    return -(-offset // buffer.width) * buffer.width
