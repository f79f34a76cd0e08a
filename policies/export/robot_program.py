"""The program of a robot's whole life with a controller: it records and adapts, inner step by inner step, and acts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from metarl.policies.device.adaptation import Baseline, gradient_phases
from metarl.policies.device.network import DeviceLayer
from metarl.policies.device.planner import Plan, plan
from metarl.policies.device.program import Buffer, Buffers, Operation, Phase, Program, Stage
from metarl.policies.device.stream_program import Streaming
from metarl.policies.device.workload import Estimator, Window, Workload, whole_window
from metarl.policies.networks.network import layer_of

ACT = "act"  # the working memory of the policy for one observation
LENGTHS = "lengths"  # of the recorded episodes
ROW = "recorded"  # the time step in work, where nothing is stored
REBUILT = 2  # phases that a step begins with if recording has not done what they do


@dataclass(frozen=True)
class Sizes:
    """What a robot has room for.

    Attributes:
        episodes: The episodes of an inner step.
        work: The sizes of the episodes and of the blocks in work, with the channels that attention may keep.
        windows: The passes over the episodes of each inner step; none: one pass, whose accumulators become the change.
        streaming: Whether nothing is stored: recording runs the first stages of the program.
    """

    episodes: int
    work: Workload
    windows: tuple[Window, ...] = ()
    streaming: bool = False


@dataclass(frozen=True)
class RobotProgram:
    """The plan of a robot's memory, and the phases of each inner step.

    Attributes:
        plan: The plan of all phases together.
        steps: The phases of each inner step, of which the first ``REBUILT`` repeat what recording has done.
        changes: The buffer with the change of each parameter that the inner steps change, by the parameter's name.
        places: The buffer with the places of a layer's inputs in the change of its weights, by the weights' name.
    """

    plan: Plan
    steps: tuple[tuple[Phase, ...], ...]
    changes: Mapping[str, str]
    places: Mapping[str, str]


def robot_program(
    steps: Sequence[Sequence[DeviceLayer]], width: int, sizes: Sizes, estimator: Estimator
) -> RobotProgram:
    """Plan the memory of a robot.

    While a step adapts, the policy may act between any two blocks of time steps. With several inner steps the change
    of those before is kept beside the accumulators of the next one, which are added to it.

    Args:
        steps: The layers from the input to the output, for each inner step with what it does to them; none for a policy
            that acts alone.
        width: The width of the widest layer.
        sizes: What the robot has room for.
        estimator: How the advantages are computed from the rewards.
    """
    buffers = Buffers()
    buffers.add(Buffer(ACT, (2, width), scratch=True))
    several = len(steps) > 1
    changes, places = _changes(steps, sizes, buffers) if several else ({}, {})
    merged = (*changes.values(), *places.values())
    parts: list[tuple[Phase, ...]] = []
    recordings: list[Phase] = []
    for number, layers in enumerate(steps, start=1):
        name = f"step{number}." if several else ""
        baseline = Baseline(layers[0].stated.inputs, sizes.work, estimator, buffers, name)
        kept = merged if number > 1 else ()
        buffers.add(Buffer(LENGTHS, (sizes.episodes,), "uint32"))
        phases: list[Phase] = []
        if sizes.streaming:
            stream = Streaming(layers, sizes.work, estimator, buffers, name)
            kept = (_row(layers, buffers), *kept)
            recordings.append(_recording(name, (stream.features(), *kept)))
        else:
            recordings.append(_recording(name, (baseline.features("equations"), *baseline.equations(), *kept)))
        if any(layer.updated for layer in layers):
            if sizes.streaming:
                phases += stream.phases()
            else:
                phases += [*baseline.phases(), *gradient_phases(layers, sizes.work, buffers, baseline, sizes.windows)]
            if several:
                phases.append(_merge(layers, name, changes, places, first=number == 1))
        parts.append(tuple(_acting(phases, kept, buffers)))
    if len(steps) == 1 and not sizes.windows:
        sums = whole_window(steps[0])
        changes = {name: f"{name}.sum" for name in sorted(sums.vectors)}
        changes |= {
            f"{layer}.weight": f"{layer}.weight.sum" for layer in sums.inputs if f"{layer}.weight.sum" in buffers
        }
        places = {f"{name}.weight": f"{name}.places" for name in sums.inputs if f"{name}.places" in buffers}
    afterwards = Stage("act", (Operation(ACT, (ACT, *changes.values(), *places.values())),))
    life = [phase for recording, part in zip(recordings, parts, strict=True) for phase in (recording, *part)]
    program = Program((*life, Phase("act", (afterwards,))), buffers)
    return RobotProgram(plan(program), tuple(parts), changes, places)


def _recording(name: str, used: Sequence[str]) -> Phase:
    """Act, and use some buffers, at every time step."""
    record = Operation("record", (ACT, LENGTHS, *used))
    return Phase(f"{name}record", (Stage(f"{name}record", (record,), rows=1),), every_episode=True)


def _row(layers: Sequence[DeviceLayer], buffers: Buffers) -> str:
    """Return the row of a time step: its observation, action and reward."""
    return buffers.add(Buffer(ROW, (layers[0].stated.inputs + layers[-1].stated.outputs + 1,)))


def _acting(phases: Sequence[Phase], change: Sequence[str], buffers: Buffers) -> Iterator[Phase]:
    """Let the policy act before every stage: what is alive there must not share its memory."""
    act = Operation(ACT, (ACT, LENGTHS, *change))
    for phase in phases:
        stages = (replace(stage, operations=(act, *stage.operations)) for stage in phase.stages)
        yield replace(phase, stages=tuple(stages))


def _changes(
    steps: Sequence[Sequence[DeviceLayer]], sizes: Sizes, buffers: Buffers
) -> tuple[dict[str, str], dict[str, str]]:
    """Add the buffers of the changes that several inner steps add up; return the names of changes and places."""
    changes, places = {}, {}
    for layers in zip(*steps, strict=True):
        if not any(layer.updated for layer in layers):
            continue
        stated, changing = layers[0].stated, min(layer.changing() for layer in layers)
        for name, shape in layers[0].changed.items():
            if name.endswith(".weight"):
                if any(layer.chooses_inputs for layer in layers):
                    shape = sizes.work.kept[stated.name][1], stated.outputs
                    places[name] = buffers.add(Buffer(f"{stated.name}.changed", (stated.inputs,), "int16"))
                elif changing == 0:
                    continue
                else:
                    shape = (changing,)
            changes[name] = buffers.add(Buffer(f"{name}.change", shape))
    return changes, places


def _merge(
    layers: Sequence[DeviceLayer], name: str, changes: Mapping[str, str], places: Mapping[str, str], first: bool
) -> Phase:
    """Add the accumulators of an inner step to the change of those before."""
    window = whole_window(layers)
    weights = [f"{layer}.weight" for layer in window.inputs]
    checks = [
        Operation("check_room", (places[weight], f"{name}{layer_of(weight)}.places", changes[weight]))
        for weight in weights
        if weight in places
    ]
    clear = [Operation("fill", (each, 0)) for each in changes.values()] if first else []
    clear += [Operation("fill", (each, -1)) for each in places.values()] if first else []
    merges = [Operation("merge", (changes[each], f"{name}{each}.sum")) for each in sorted(window.vectors)]
    merges += [
        Operation("merge_rows", (changes[each], places[each], f"{name}{each}.sum", f"{name}{layer_of(each)}.places"))
        if each in places
        else Operation("merge", (changes[each], f"{name}{each}.sum"))
        for each in weights
        if each in changes
    ]
    return Phase(f"{name}merge", (Stage(f"{name}merge", (*(clear or checks), *merges)),))
