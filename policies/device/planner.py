"""The place of every buffer of a device program in one arena: from lifetimes to offsets.

Buffers that are never alive at the same time share memory. Buffers whose size follows the data stand behind all others,
so that the arena can grow in place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from metarl.policies.device.program import Buffer, Program


@dataclass(frozen=True, slots=True)
class Lifetime:
    """The first and the last operation, by their position in the program, at which a buffer holds a value."""

    first: int
    last: int

    def overlaps(self, other: Lifetime) -> bool:
        """Return whether there is an operation during which both are alive."""
        return self.first <= other.last and other.first <= self.last

    def over(self, loop: Lifetime) -> Lifetime:
        """Return the lifetime of a value that outlives a turn of a loop: it lasts for the whole loop."""
        if not self.overlaps(loop) or (loop.first <= self.first and self.last <= loop.last):
            return self
        return Lifetime(min(self.first, loop.first), max(self.last, loop.last))


@dataclass(frozen=True)
class Plan:
    """Where the buffers of a program lie: ``offsets`` in an arena of ``bytes``, by the buffers' names."""

    program: Program
    offsets: Mapping[str, int]
    bytes: int


def plan(program: Program) -> Plan:
    """Return a plan in which no two buffers that are alive at the same time overlap.

    Larger buffers are placed first, each at the lowest offset that is free during its lifetime.
    """
    alive, sizes = lifetimes(program), program.buffers.owned_bytes()
    placed: dict[str, int] = {}
    for name in sorted(alive, key=lambda name: -sizes[name]):
        if not program.buffers[name].grows:
            taken = sorted(
                (offset, offset + sizes[other])
                for other, offset in placed.items()
                if alive[name].overlaps(alive[other])
            )
            placed[name] = _lowest(taken, sizes[name], program.buffers[name])
    end = max((offset + sizes[name] for name, offset in placed.items()), default=0)
    for name in alive:
        if program.buffers[name].grows:
            placed[name] = _aligned(end, program.buffers[name])
            end = placed[name] + sizes[name]
    offsets = {
        name: placed[program.buffers.owner(name)] for name in program.buffers if program.buffers.owner(name) in placed
    }
    return Plan(program, offsets, end)


def lifetimes(program: Program) -> dict[str, Lifetime]:
    """Return when the memory of each buffer that owns some is in use.

    A value that is written and read within one turn of a loop is dead between the turns; any other value that a loop
    reads or writes is alive during the whole loop.
    """
    alive: dict[str, Lifetime] = {}
    position = 0
    for stage in program.stages():
        for operation in stage.operations:
            for buffer in program.used(operation):
                owner, now = program.buffers.owner(buffer.name), Lifetime(position, position)
                alive[owner] = Lifetime(alive.get(owner, now).first, position)
            position += 1
    for loop in _loops(program):
        alive = {name: lifetime.over(loop) for name, lifetime in alive.items()}
    return alive


def _loops(program: Program) -> Iterator[Lifetime]:
    """Yield the operations that each loop repeats, inner loops before outer ones."""
    position = 0
    for phase in program.phases:
        start = position
        for stage in phase.stages:
            if stage.rows is not None:
                yield Lifetime(position, position + len(stage.operations) - 1)
            position += len(stage.operations)
        if phase.every_episode:
            yield Lifetime(start, position - 1)


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
