"""``metarl inspect``: what a controller is, and which of its layers and channels an adaptation changes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from metarl.cost import Cost
from metarl.envs.family import TaskFamily
from metarl.envs.registry import FAMILIES
from metarl.evaluation import family_of
from metarl.experiments import costs
from metarl.experiments.families import family_for
from metarl.experiments.parsing import check_new_file, parse, require_at_least
from metarl.policies.atomic import write_atomically
from metarl.policies.attention import PREFIX
from metarl.policies.controller import Controller, load
from metarl.policies.metadata import FieldRecord, to_json
from metarl.policies.methods import STEP_SIZES, get_method


@dataclass(frozen=True)
class Inspect:
    """Tell what a controller is: method, family, training, and layer by layer what an adaptation changes."""

    controller: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CONTROLLER")]
    """The controller's file, or FAMILY/METHOD of one that ships with metarl."""
    seed: int = 1
    """Seed of the tasks and episodes that attention judges."""
    json: Path | None = None
    """Write all of it to this file, which must be new."""
    family: str | None = None
    """Task family; needed for attention where the controller was trained on one of your own (module:attribute)."""

    def __post_init__(self) -> None:
        require_at_least(0, seed=self.seed)


@dataclass(frozen=True)
class LayerReport:
    """A layer, and what each inner step does to it; a kept share is None where it is unknown or nothing is updated."""

    name: str
    inputs: int
    outputs: int
    adapts: tuple[bool, ...]
    step_sizes: tuple[float, ...]
    kept_inputs: tuple[float | None, ...]
    kept_outputs: tuple[float | None, ...]


@dataclass(frozen=True)
class Report:
    """What there is to tell beside the metadata; ``notes`` are sentences on what could not be found out."""

    parameters: int
    attention_parameters: int
    action_std: tuple[float, ...]
    layers: tuple[LayerReport, ...]
    cost: Cost | None
    notes: tuple[str, ...]


def main(arguments: Sequence[str]) -> None:
    """Runs the command; ValueError says what is wrong with its arguments."""
    command = parse(Inspect, arguments, "metarl inspect")
    if command.json:
        check_new_file(command.json)
    controller = load(command.controller)
    report = inspected(controller, family_to_sample(controller, command.family), command.seed)
    console = Console(highlight=False)
    console.print(facts_table(str(command.controller), controller, report))
    console.print(layer_table(report, get_method(controller.metadata.method).attention is not None))
    for note in report.notes:
        console.print(Text(note))
    if command.json:
        content = json.dumps(report_record(controller, report), indent=2) + "\n"
        write_atomically(command.json, content.encode())


def family_to_sample(controller: Controller, name: str | None) -> TaskFamily | None:
    """The family by that name or that the controller was trained on; None if that is none of metarl's."""
    if name is None and controller.metadata.family not in FAMILIES:
        return None
    return family_of(controller, family_for(controller, name))


def inspected(controller: Controller, family: TaskFamily | None, seed: int) -> Report:
    """Finds out what an adaptation does; attention judges episodes of ``family``, and nothing without one."""
    network, parameters = controller.network, controller.parameters
    taken, notes = judged(controller, family, seed)
    modules = sum(tensor.numel() for name, tensor in parameters.items() if name.startswith(PREFIX))
    steps = parameters[STEP_SIZES].numel() if STEP_SIZES in parameters else 0
    return Report(
        parameters=sum(tensor.numel() for tensor in parameters.values()) - modules - steps,
        attention_parameters=modules,
        action_std=tuple(network.log_std(parameters).exp().tolist()),
        layers=tuple(layer_reports(controller, taken, known=not notes)),
        cost=costs.controller_cost(controller, taken) if STEP_SIZES in parameters else None,
        notes=notes,
    )


def judged(
    controller: Controller, family: TaskFamily | None, seed: int
) -> tuple[tuple[costs.TakenStep, ...], tuple[str, ...]]:
    """The inner steps on a few tasks, if attention plays a part in them, or a sentence why they were not taken."""
    metadata = controller.metadata
    if STEP_SIZES not in controller.parameters:
        return (), (f"The controller has no '{STEP_SIZES}': it acts, but cannot be adapted.",)
    if get_method(metadata.method).attention is None:
        return (), ()
    if family is None:
        return (), (
            f"Which channels attention keeps is left out: '{shown(metadata.family)}' is no family of metarl (if that "
            f"code is yours, say --family {shown(metadata.family)}). The cost counts all channels.",
        )
    try:
        with costs.environment_episodes(controller, family, seed) as record:
            return costs.take_steps(controller, record), ()
    except (ValueError, FloatingPointError) as error:
        return (), (f"Which channels attention keeps is left out: {error}. The cost counts all channels.",)


def layer_reports(controller: Controller, taken: Sequence[costs.TakenStep], known: bool) -> Iterator[LayerReport]:
    """Every layer; ``known``: the inner steps of ``taken``, if there are any, tell all kept shares."""
    steps = range(controller.metadata.inner_steps)
    sizes = controller.parameters.get(STEP_SIZES)
    adapted = [costs.adapted_layers(controller, step) if sizes is not None else () for step in steps]
    for index, (name, (inputs, outputs)) in enumerate(controller.network.channels.items()):
        shares = [
            (taken[step].shares if taken else {}).get(name, costs.KeptShares())
            if name in adapted[step] and known
            else None
            for step in steps
        ]
        yield LayerReport(
            name=name,
            inputs=inputs,
            outputs=outputs,
            adapts=tuple(name in each for each in adapted),
            step_sizes=tuple(sizes[:, index].tolist()) if sizes is not None else (),
            kept_inputs=tuple(each.forward if each else None for each in shares),
            kept_outputs=tuple(each.backward if each else None for each in shares),
        )


def facts_table(name: str, controller: Controller, report: Report) -> Table:
    """What the controller is, a line each."""
    metadata = controller.metadata
    method = get_method(metadata.method)
    steps = (
        f"{costs.plural(metadata.inner_steps, 'step')}, each on {costs.plural(metadata.episodes_per_step, 'episode')}"
    )
    modules = f" and {report.attention_parameters} of attention" if report.attention_parameters else ""
    adapted_to = " ".join(f"{field}={value:g}" for field, value in (metadata.adapted_to or {}).items())
    actions = space(metadata.action_low, metadata.action_high)
    scale = "" if metadata.action_scale == 1 else f", the policy's own times {metadata.action_scale:g}"
    facts = {
        "controller": name,
        "method": f"{method.name} ({method.source})",
        "family": shown(metadata.family),
        "tasks": ", ".join(map(field_text, metadata.task_fields)),
        "adapted to": shown(adapted_to),
        "observations": space(metadata.observation_low, metadata.observation_high),
        "actions": f"{actions}{scale}",
        "action std": " ".join(f"{std:.3g}" for std in report.action_std),
        "horizon": costs.plural(metadata.horizon, "time step"),
        "adaptation": f"{steps}, discount {metadata.discount:g}, lambda {metadata.gae_lambda:g}",
        "parameters": f"{report.parameters}{modules}",
    }
    cost = [("cost", cost_line(report.cost))] if report.cost else []
    table = Table.grid(padding=(0, 2, 0, 0))
    for label, fact in (*facts.items(), *training_facts(metadata.training), *cost):
        if fact:
            table.add_row(Text(label, style="bold"), Text(fact, overflow="fold"))
    return table


def layer_table(report: Report, attended: bool) -> Table:
    """A row per layer, with a number per inner step in each cell; kept shares only where a method has attention."""
    table = Table()
    table.add_column("layer")
    for heading in ("inputs", "outputs"):
        table.add_column(heading, justify="right")
    for heading in ("step size", "adapts", *(("kept\ninputs", "kept\noutputs") if attended else ())):
        table.add_column(heading)
    for layer in report.layers:
        sizes = " ".join(f"{step_size:.4g}" for step_size in layer.step_sizes)
        adapts = " ".join("yes" if each else "no" for each in dict.fromkeys(layer.adapts))
        if len(set(layer.adapts)) > 1:
            adapts = "step " + ", ".join(str(step) for step, each in enumerate(layer.adapts, start=1) if each)
        kept = (layer.kept_inputs, layer.kept_outputs) if attended else ()
        table.add_row(layer.name, str(layer.inputs), str(layer.outputs), sizes, adapts, *map(percentages, kept))
    return table


def report_record(controller: Controller, report: Report) -> dict[str, Any]:
    """What ``--json`` writes: the metadata as in the controller's file, and what was found out."""
    found = {name: value for name, value in asdict(report).items() if name != "cost"}
    cost = costs.cost_record(report.cost, costs.workload(controller), None) if report.cost else None
    return {**json.loads(to_json(controller.metadata, controller.network)), **found, "cost": cost}


def training_facts(training: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The training record: its numbers and words in one line, and a line for each list or group of values in it."""
    groups = {name: value for name, value in training.items() if isinstance(value, dict | list)}
    single = ", ".join(f"{shown(name)} {shown(value)}" for name, value in training.items() if name not in groups)
    return [("training", single), *((f"training {shown(name)}", shown(value)) for name, value in groups.items())]


def shown(value: Any, depth: int = 3) -> str:
    """A value of a file that may come from a stranger: nothing in it moves a terminal's cursor, nor nests for ever."""
    if isinstance(value, dict | list | tuple) and not depth:
        return "..."
    if isinstance(value, dict):
        return " ".join(f"{shown(name)}={shown(item, depth - 1)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return "[" + ", ".join(shown(item, depth - 1) for item in value) + "]"
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) and value.isprintable() else json.dumps(value)


def field_text(field: FieldRecord) -> str:
    """``target_velocity in [0, 2] m/s``."""
    values = f"of {shown(list(field.choices))}" if field.choices else f"in [{field.low:g}, {field.high:g}]"
    return f"{shown(field.name)} {values} {shown(field.unit)}".rstrip()


def space(low: Sequence[float], high: Sequence[float]) -> str:
    """How many numbers, and their bounds: those of all, or those of each."""
    bounds = dict.fromkeys(zip(low, high, strict=True))
    if all(math.isinf(number) for number in (*low, *high)):
        return f"{costs.plural(len(low), 'number')} without bounds"
    each = bounds if len(bounds) == 1 else list(zip(low, high, strict=True))
    return f"{costs.plural(len(low), 'number')} in " + ", ".join(f"[{least:g}, {most:g}]" for least, most in each)


def percentages(shares: Sequence[float | None]) -> str:
    """The shares that are known."""
    return " ".join("-" if share is None else f"{100 * share:.0f} %" for share in shares)


def cost_line(cost: Cost) -> str:
    """Peak memory and operations of an adaptation step, and what the weights take."""
    return (
        f"{costs.megabytes(cost.peak_adaptation_bytes)} MB at the peak of a step and "
        f"{costs.giga(cost.adaptation_macs)} GMAC, beside {costs.megabytes(cost.static_bytes)} MB of weights"
    )
