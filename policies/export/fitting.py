"""What of a robot's work fits into its RAM: the size of the blocks, and the passes over the episodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from metarl.core.errors import Refusal
from metarl.policies.device.network import DeviceLayer
from metarl.policies.device.stream_program import stream_workload
from metarl.policies.device.workload import Estimator, Window, Workload, whole_window
from metarl.policies.export.robot_program import RobotProgram, Sizes, robot_program

ROWS = 4  # time steps that the runtime's products take at a time
DURATIONS = {4: 1.0, 2: 1.3, 1: 1.7}  # of a pass over the episodes, about, by the time steps in work at a time
MOST_PASSES = 64
STACK = 2048  # bytes that a robot's calls may take on the stack, with some to spare
STATIC = 128  # bytes of the C library's own variables


def fitted(
    steps: Sequence[Sequence[DeviceLayer]],
    width: int,
    episodes: int,
    horizon: int,
    estimator: Estimator,
    channels: Mapping[str, int],
    ram: int | None,
    state: int,
    streaming: bool = False,
) -> tuple[Sizes, RobotProgram]:
    """Return the fastest way of adapting that fits, and its program.

    Args:
        steps: The layers from the input to the output, for each inner step with what it does to them.
        width: The width of the widest layer.
        episodes: The episodes of an inner step.
        horizon: The time steps of an episode.
        estimator: How the advantages are computed from the rewards.
        channels: The input channels that attention may keep of each layer.
        ram: The bytes of RAM, for the robot, its stack and the C library; None: no bound.
        state: The bytes of a robot beside its arena.
        streaming: Whether nothing is stored.

    Raises:
        Refusal: If nothing fits; it says what the smallest ways take.
    """
    kept = {layer: (count, count) for layer, count in channels.items()}
    sizes = Sizes(episodes, Workload(horizon, ROWS, rows=ROWS, feature_rows=1, kept=kept, fixed=True))
    if streaming:
        sizes = Sizes(episodes, stream_workload(horizon), streaming=True)
    room = None if ram is None else ram - STACK - STATIC - state
    smallest: dict[int, int] = {}
    for candidate in _candidates(steps, sizes):
        program = robot_program(steps, width, candidate, estimator)
        passes = max(len(candidate.windows), 1)
        if room is None or program.plan.bytes <= room:
            return candidate, program
        smallest[passes] = min(program.plan.bytes + state, smallest.get(passes, program.plan.bytes + state))
    raise Refusal(
        f"the robot does not fit into {ram} bytes of RAM, of which {STACK + STATIC} are for the stack and the C "
        f"library: it takes {_ways(smallest)}"
    )


def _ways(smallest: Mapping[int, int]) -> str:
    """Say what the robot takes: ``57344 bytes with one pass over the episodes and at least 22888 with 5 passes``."""
    least = min(smallest, key=lambda passes: smallest[passes])
    if least == 1:
        return f"at least {smallest[1]} bytes"
    return f"{smallest[1]} bytes with one pass over the episodes and at least {smallest[least]} with {least} passes"


def _candidates(steps: Sequence[Sequence[DeviceLayer]], sizes: Sizes) -> Iterator[Sizes]:
    """Yield the ways of adapting, the fastest first; several inner steps cannot leave their change in the storage."""
    if sizes.streaming:
        yield sizes
        return
    most = 1
    if len(steps) == 1 and any(layer.updated for layer in steps[0]):
        most = min(MOST_PASSES, max(1, sum(size > 0 for _, _, size in _changing(steps[0]))))
    ways = [(passes, chunk) for passes in range(1, most + 1) for chunk in DURATIONS]
    for passes, chunk in sorted(ways, key=lambda way: way[0] * DURATIONS[way[1]]):
        windows = tuple(split(steps[0], passes)) if passes > 1 else ()
        yield Sizes(sizes.episodes, replace(sizes.work, chunk=chunk), windows)


def split(layers: Sequence[DeviceLayer], passes: int) -> Iterator[Window]:
    """Yield windows of about equal size, which together hold the gradients of all updated layers."""
    rows = _changing(layers)
    share = sum(size for _, _, size in rows) / passes
    done, held = 0.0, 0  # weights beyond those that the windows so far should hold, and weights of the next window
    inputs: dict[str, tuple[int, int]] = {}
    vectors = whole_window(layers).vectors
    for name, first, size in rows:
        start, count = inputs.get(name, (first, 0))
        inputs[name] = start, count + 1
        done, held = done + size, held + size
        if held and done >= share - 0.5:
            yield Window(inputs, vectors)
            done, held, inputs, vectors = done - share, 0, {}, frozenset()
    if held:
        yield Window(inputs, vectors)


def _changing(layers: Sequence[DeviceLayer]) -> list[tuple[str, int, int]]:
    """Return the layer, the number and the changing weights of every input of the layers that a step updates."""
    updated = [layer for layer in layers if layer.name in whole_window(layers).inputs]
    return [(layer.name, first, layer.changing(first, 1)) for layer in updated for first in range(layer.stated.inputs)]
