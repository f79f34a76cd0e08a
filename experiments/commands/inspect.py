"""``metarl inspect``: what a controller is, and which of its layers and channels an adaptation changes."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from metarl.core.atomic import write_atomically
from metarl.core.text import plural
from metarl.envs.family import TaskFamily
from metarl.envs.registry import FAMILIES
from metarl.experiments.analysis import costs
from metarl.experiments.analysis.image_inspection import (
    classifier_facts,
    classifier_layers,
    classifier_record,
    inspected_classifier,
)
from metarl.experiments.analysis.inspection import (
    Report,
    Taken,
    attended,
    facts_table,
    inspected,
    method_fact,
    report_record,
    shown,
)
from metarl.experiments.console.constructors import ControllerFile, Family, Maybe
from metarl.experiments.console.families import family_for
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import check_new_file, parse, refuse, require_at_least
from metarl.experiments.console.progress import decoding_line
from metarl.policies.classifier import Classifier
from metarl.policies.controller import Controller
from metarl.policies.device.step import CHUNK
from metarl.policies.files.controller_file import to_json
from metarl.policies.files.metadata import FieldRecord
from metarl.policies.loading import load
from metarl.rl.evaluation import family_of


@dataclass(frozen=True)
class Inspect:
    """Tell what a controller is: method, tasks, training, and what adapts in each layer."""

    controller: ControllerFile
    """The file of a policy or of an image network, a run's folder, or FAMILY/METHOD of one that ships with metarl."""
    seed: int = 1
    """Seed of the tasks and episodes or images that attention judges."""
    json: Maybe[Path] = None
    """Write all of it to this file, which must be new."""
    family: Family = None
    """Task family; needed for attention where the policy was trained on one of your own (module:attribute)."""
    data: Maybe[Path] = None
    """Folder of images; the attention of an image network judges those of its split val."""

    def __post_init__(self) -> None:
        require_at_least(0, seed=self.seed)


def main(arguments: Sequence[str]) -> None:
    """Runs the command; ValueError says what is wrong with its arguments."""
    command = parse(Inspect, arguments, "metarl inspect")
    if command.json:
        check_new_file(command.json)
    console = Terminal()
    loaded = load(command.controller)
    if isinstance(loaded, Classifier):
        tables, notes, record = image_network(command, loaded, console)
    else:
        tables, notes, record = policy(command, loaded)
    for each in (*tables, *map(Text, notes)):
        console.print(each)
    if command.json:
        write_atomically(command.json, (json.dumps(record, indent=2) + "\n").encode())


def policy(command: Inspect, controller: Controller) -> tuple[list[Table], tuple[str, ...], dict[str, Any]]:
    """What to print of a policy, and what ``--json`` writes."""
    refuse(command, "is about image networks: leave it out for a policy", "data")
    report = inspected_policy(controller, family_to_sample(controller, command.family), command.seed)
    facts = policy_facts(str(command.controller), controller, report)
    return [facts, layer_table(report, attended(controller))], report.notes, policy_record(controller, report)


def image_network(
    command: Inspect, classifier: Classifier, console: Console
) -> tuple[list[Table], tuple[str, ...], dict[str, Any]]:
    """What to print of an image network, and what ``--json`` writes."""
    refuse(command, "is about policies: leave it out for an image network", "family")
    report = inspected_classifier(classifier, command.data, command.seed, decoding_line(console))
    facts = classifier_facts(str(command.controller), classifier, report)
    return [facts, classifier_layers(classifier, report)], report.notes, classifier_record(classifier, report)


def family_to_sample(controller: Controller, name: str | None) -> TaskFamily | None:
    """The family by that name or that the controller was trained on; None if that is none of metarl's."""
    if name is None and controller.metadata.family not in FAMILIES:
        return None
    return family_of(controller, family_for(controller, name))


def inspected_policy(controller: Controller, family: TaskFamily | None, seed: int) -> Report:
    """Finds out what an adaptation does; attention judges episodes of ``family``, and nothing without one."""

    def take() -> Taken:
        assert family is not None
        with costs.environment_episodes(controller, family, seed) as record:
            return costs.take_steps(controller, record, chunk=CHUNK)

    name = shown(controller.metadata.family)
    unknown = f"'{name}' is no family of metarl (if that code is yours, say --family {name})"
    return inspected(
        controller,
        take if family else None,
        unknown,
        lambda taken: costs.controller_cost(controller, taken),
        lambda taken: costs.device_record(controller, taken, CHUNK),
    )


def policy_facts(name: str, controller: Controller, report: Report) -> Table:
    """What the controller is, a line each."""
    metadata = controller.metadata
    steps = f"{plural(metadata.inner_steps, 'step')}, each on {plural(metadata.episodes_per_step, 'episode')}"
    adapted_to = " ".join(f"{field}={value:g}" for field, value in (metadata.adapted_to or {}).items())
    actions = space(metadata.action_low, metadata.action_high)
    scale = "" if metadata.action_scale == 1 else f", the policy's own times {metadata.action_scale:g}"
    facts = {
        "controller": name,
        "method": method_fact(metadata.method),
        "family": shown(metadata.family),
        "tasks": ", ".join(map(field_text, metadata.task_fields)),
        "adapted to": shown(adapted_to),
        "observations": space(metadata.observation_low, metadata.observation_high),
        "actions": f"{actions}{scale}",
        "action std": " ".join(f"{std:.3g}" for std in action_std(controller)),
        "horizon": plural(metadata.horizon, "time step"),
        "adaptation": f"{steps}, discount {metadata.discount:g}, lambda {metadata.gae_lambda:g}",
    }
    return facts_table(facts, metadata.training, report)


def layer_table(report: Report, attends: bool) -> Table:
    """A row per layer, with a number per inner step in each cell; kept shares only where a method has attention."""
    table = Table()
    table.add_column("layer")
    for heading in ("inputs", "outputs"):
        table.add_column(heading, justify="right")
    for heading in ("step size", "adapts", *(("kept\ninputs", "kept\noutputs") if attends else ())):
        table.add_column(heading)
    for layer in report.layers:
        sizes = " ".join(f"{step_size:.4g}" for step_size in layer.step_sizes)
        kept = (layer.kept_inputs, layer.kept_outputs) if attends else ()
        channels = (str(layer.inputs), str(layer.outputs))
        table.add_row(layer.name, *channels, sizes, layer.adapting_steps, *map(percentages, kept))
    return table


def policy_record(controller: Controller, report: Report) -> dict[str, Any]:
    """What ``--json`` writes."""
    record = report_record(to_json(controller.metadata, controller.network), report, costs.workload(controller))
    return record | {"action_std": action_std(controller)}


def action_std(controller: Controller) -> list[float]:
    """The standard deviations of the policy's Gaussian."""
    stds: list[float] = controller.network.log_std(controller.parameters).exp().tolist()
    return stds


def field_text(field: FieldRecord) -> str:
    """``target_velocity in [0, 2] m/s``."""
    values = f"of {shown(list(field.choices))}" if field.choices else f"in [{field.low:g}, {field.high:g}]"
    return f"{shown(field.name)} {values} {shown(field.unit)}".rstrip()


def space(low: Sequence[float], high: Sequence[float]) -> str:
    """How many numbers, and their bounds: those of all, or those of each."""
    bounds = dict.fromkeys(zip(low, high, strict=True))
    if all(math.isinf(number) for number in (*low, *high)):
        return f"{plural(len(low), 'number')} without bounds"
    each = bounds if len(bounds) == 1 else list(zip(low, high, strict=True))
    return f"{plural(len(low), 'number')} in " + ", ".join(f"[{least:g}, {most:g}]" for least, most in each)


def percentages(shares: Sequence[float | None]) -> str:
    """The shares that are known."""
    return " ".join("-" if share is None else f"{100 * share:.0f} %" for share in shares)
