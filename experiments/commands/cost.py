"""``metarl cost``: memory and operations of inference and of an adaptation step, layer by layer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from metarl.cost import Cost, forward_macs
from metarl.envs.family import TaskFamily
from metarl.envs.registry import FAMILIES, get_family
from metarl.evaluation import family_of
from metarl.experiments import costs
from metarl.experiments.families import family_by_name
from metarl.experiments.parsing import check_new_file, parse, require_at_least
from metarl.peak import WORD_BYTES, Moment, Workload, inference_moments
from metarl.policies.atomic import write_atomically
from metarl.policies.controller import Controller, load
from metarl.policies.methods import get_method
from metarl.shapes import mlp_shapes


@dataclass(frozen=True)
class CostCommand:
    """Memory and operations of a controller on a device, by layer and in total.

    Of a trained controller, or of the policy that a task family and a method give.
    """

    controller: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="CONTROLLER")] = None
    """The controller's file, or FAMILY/METHOD of one that ships with metarl."""
    family: str | None = None
    """Task family, with --method and in place of a controller."""
    method: str | None = None
    """Meta-learning method, with --family."""
    layers: str | None = None
    """Numbers of the layers that adapt, e.g. 1,3; those of the controller or the method if left out."""
    horizon: int | None = None
    """Observations in an episode; those of the controller or the family if left out."""
    episodes: int | None = None
    """Episodes in an adaptation step; those of the controller or the family's preset if left out."""
    chunk: int | None = None
    """Observations whose gradients are computed at a time; an episode if left out."""
    measure: bool = False
    """Run the step, too, and measure its memory."""
    seed: int = 1
    """Seed of the episodes that attention judges and that the measured step adapts to."""
    json: Path | None = None
    """Write the numbers to this file, which must be new."""

    def __post_init__(self) -> None:
        given = {"horizon": self.horizon, "episodes": self.episodes, "chunk": self.chunk}
        require_at_least(1, **{name: value for name, value in given.items() if value is not None})
        require_at_least(0, seed=self.seed)


def main(arguments: Sequence[str]) -> None:
    """Runs the command; ValueError says what is wrong with its arguments."""
    command = parse(CostCommand, arguments, "metarl cost")
    if command.json:
        check_new_file(command.json)
    controller, family = chosen(command)
    work = costs.workload(controller, command.chunk)
    if command.measure and work.batch > work.horizon:
        raise ValueError(
            f"the step on a device takes one episode at a time: with --measure, --chunk must be at most the horizon "
            f"{work.horizon}, got {work.batch}"
        )
    attended = get_method(controller.metadata.method).attention is not None
    taken: tuple[costs.TakenStep, ...] = ()
    if attended or command.measure:
        with recording(controller, family, command.seed) as record:
            taken = costs.take_steps(controller, record, chunk=command.chunk)
    result = costs.controller_cost(controller, taken, command.chunk)
    measured = max(step.peak_bytes for step in taken) if command.measure else None
    episodes = f"{costs.TASKS} tasks of {family.name}" if family else "random episodes"
    console = Console(highlight=False)
    console.print(cost_table(controller, result, work))
    console.print(Text(caption(result, work, episodes if attended else None)))
    if measured is not None:
        console.print(Text(f"The step really takes {costs.megabytes(measured)} MB at its peak, on {episodes}."))
    if command.json:
        content = json.dumps(costs.cost_record(result, work, measured), indent=2) + "\n"
        write_atomically(command.json, content.encode())


def chosen(command: CostCommand) -> tuple[Controller, TaskFamily | None]:
    """The controller that is asked for, and the family to record its episodes in, where there is one."""
    controller, family = named(command)
    if command.layers is not None:
        names = controller.network.layer_names
        controller = costs.adapting(controller, [names[number - 1] for number in layer_numbers(command.layers, names)])
    metadata = replace(
        controller.metadata,
        horizon=command.horizon or controller.metadata.horizon,
        episodes_per_step=command.episodes or controller.metadata.episodes_per_step,
    )
    controller = replace(controller, metadata=metadata)
    return controller, family and family_of(controller, family)


def named(command: CostCommand) -> tuple[Controller, TaskFamily | None]:
    """A file's controller with its family, if that is one of metarl's; or an untrained one, which has no episodes."""
    if command.controller is not None:
        if command.family is not None or command.method is not None:
            raise ValueError("metarl cost takes either a CONTROLLER or --family and --method, not both")
        controller = load(command.controller)
        name = controller.metadata.family
        return controller, get_family(name) if name in FAMILIES else None
    if command.family is None or command.method is None:
        missing = [name for name in ("family", "method") if getattr(command, name) is None]
        raise ValueError(
            f"metarl cost takes either a CONTROLLER or --family and --method: "
            f"{' and '.join(f'--{name}' for name in missing)} {'is' if len(missing) == 1 else 'are'} missing"
        )
    get_method(command.method)
    return costs.untrained(family_by_name(command.family), command.method), None


def layer_numbers(text: str, names: Sequence[str]) -> list[int]:
    """The numbers in a text like ``1,3``, each from 1 to as many as there are ``names``."""
    numbers = []
    for word in text.split(","):
        if not word.strip().isdecimal() or not 1 <= int(word) <= len(names):
            raise ValueError(
                f"--layers takes numbers from 1 to {len(names)} with commas between them, e.g. 1,{len(names)}, "
                f"got '{word}'"
            )
        numbers.append(int(word))
    return numbers


def recording(controller: Controller, family: TaskFamily | None, seed: int) -> AbstractContextManager[costs.Record]:
    """Episodes of the family's environment, or random ones without a family."""
    if family is None:
        return nullcontext(costs.random_episodes(controller, seed))
    return costs.environment_episodes(controller, family, seed)


def cost_table(controller: Controller, result: Cost, work: Workload) -> Table:
    """A row per layer, with the memory alive at its worst moment; the totals are sums of sizes and maxima of peaks."""
    step = result.peak_step
    resting = inference_moments(mlp_shapes(controller.network.sizes), work)
    metadata = controller.metadata
    which = f", inner step {result.steps.index(step) + 1} of {len(result.steps)}" if len(result.steps) > 1 else ""
    table = Table(title=f"{metadata.family}, {metadata.method}{which}", title_justify="left")
    for heading in ("layer", "adapts"):
        table.add_column(heading)
    for heading in ("static\nMB", "inference\npeak MB", "adaptation\npeak MB", "inference\nGMAC", "adaptation\nGMAC"):
        table.add_column(heading, justify="right")
    for index, shape in enumerate(mlp_shapes(controller.network.sizes)):
        layer = step.layers[index] if step.layers else None
        table.add_row(
            shape.name,
            "yes" if layer and layer.updated else "no",
            costs.megabytes(WORD_BYTES * shape.parameters),
            costs.megabytes(peak_at(resting, shape.name)),
            costs.megabytes(peak_at(step.timeline, shape.name)),
            costs.giga(work.observations * forward_macs(shape)),
            costs.giga(layer.adaptation_macs if layer else 0),
            end_section=shape.name == controller.network.layer_names[-1],
        )
    totals = (result.static_bytes, result.peak_inference_bytes, step.peak.bytes)
    table.add_row("total", "", *map(costs.megabytes, totals), costs.giga(result.inference_macs), costs.giga(step.macs))
    return table


def peak_at(timeline: Sequence[Moment], layer: str) -> int:
    """The most bytes alive at a moment of the layer; 0 if it has none."""
    return max((moment.bytes for moment in timeline if moment.layer == layer), default=0)


def caption(result: Cost, work: Workload, episodes: str | None) -> str:
    """What the numbers stand for; ``episodes``: those that attention judged, if it did."""
    unit = "one episode" if work.chunk is None else costs.plural(work.chunk, "observation")
    parts = [
        f"One adaptation step: {costs.plural(work.episodes, 'episode')} of "
        f"{costs.plural(work.horizon, 'observation')}, {unit} at a time, their gradients added up."
    ]
    if len(result.steps) > 1:
        parts.append(f"Mean over the inner steps: {costs.giga(result.adaptation_macs)} GMAC each.")
    if episodes:
        parts.append(f"The channels are those that attention keeps in {episodes}.")
    if any(layer.scoring_macs for step in result.steps for layer in step.layers):
        parts.append("An episode's scores take a pass over its observations before the gradients'; it is counted.")
    parts.append("Peak: all that is alive at the worst moment, beside the weights.")
    modules = f"; attention modules take {costs.megabytes(result.attention_bytes)} MB more" * bool(
        result.attention_bytes
    )
    parts.append(f"Static: weights and biases{modules}. MB = 10^6 bytes, 4 bytes a word.")
    parts.append("Counted as for Tables 1 to 3 of p-Meta (Qu et al., KDD 2022, Sec. 2 and Appendix A).")
    return " ".join(parts)
