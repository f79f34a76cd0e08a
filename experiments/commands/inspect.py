"""``metarl inspect``: what a controller is, and which of its layers and channels an adaptation changes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from metarl.core.atomic import write_atomically
from metarl.core.errors import Refusal
from metarl.envs.family import TaskFamily
from metarl.envs.registry import FAMILIES
from metarl.experiments.analysis.adaptable import attended
from metarl.experiments.analysis.feature_report import feature_record, feature_report, feature_table
from metarl.experiments.analysis.image_inspection import (
    classifier_facts,
    classifier_layers,
    classifier_record,
    inspected_classifier,
)
from metarl.experiments.analysis.policy_inspection import inspected_policy, layer_table, policy_facts, policy_record
from metarl.experiments.console.constructors import ControllerFile, Family, Maybe
from metarl.experiments.console.families import family_for
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import check_new_file, parse, refuse, require_at_least
from metarl.experiments.console.progress import decoding_line
from metarl.policies.classifier import Classifier
from metarl.policies.controller import Controller
from metarl.policies.loading import load, load_classifier
from metarl.policies.nested import Nested, nested_in
from metarl.rl.evaluation import family_of


@dataclass(frozen=True)
class Inspect:
    """Tell what a controller is: method, tasks, training, and what adapts in each layer."""

    controller: ControllerFile
    """The file of a policy or of an image network, a run's folder, or FAMILY/METHOD of one that ships with metarl."""
    subnet: Maybe[int] = None
    """Which subnet of a nested controller, 1 the densest."""
    seed: int = 1
    """Seed of the tasks and episodes or images that attention judges."""
    json: Maybe[Path] = None
    """Write all of it to this file, which must be new."""
    family: Family = None
    """Task family; needed for attention where the policy was trained on one of your own (module:attribute)."""
    data: Maybe[Path] = None
    """Folder of images; the attention of an image network judges those of its split val."""
    features: bool = False
    """Measure how the features of an image network cluster on the split test of --data, and how far it adapts."""
    other: Maybe[Path] = None
    """Another image network, whose features --features compares with."""

    def __post_init__(self) -> None:
        require_at_least(0, seed=self.seed)
        if self.features and self.data is None:
            raise Refusal("--features needs a folder of images: --data FOLDER")
        if self.other is not None and not self.features:
            raise Refusal("--other is what --features compares with: give both")


def main(arguments: Sequence[str]) -> None:
    """Run the command; raise Refusal saying what is wrong with its arguments."""
    command = parse(Inspect, arguments, "metarl inspect")
    if command.json:
        check_new_file(command.json)
    console = Terminal()
    nested = nested_in(command.controller) if command.subnet is None else None
    if nested is not None:
        show_subnets(command, nested, console)
        return
    loaded = load(command.controller, command.subnet)
    if isinstance(loaded, Classifier):
        tables, notes, record = image_network(command, loaded, console)
    else:
        tables, notes, record = policy(command, loaded)
    for each in (*tables, *map(Text, notes)):
        console.print(each)
    if command.json:
        write_atomically(command.json, (json.dumps(record, indent=2) + "\n").encode())


def show_subnets(command: Inspect, nested: Nested, console: Console) -> None:
    """Print what each subnet of a nested controller takes, and write it to the file of ``--json``."""
    table = Table("subnet", "sparsity", "multiplications", "bytes")
    records = []
    for number in range(1, nested.count + 1):
        subnet = nested.subnet(number)
        table.add_row(str(number), f"{100 * subnet.sparsity:.1f} %", f"{subnet.macs:,}", f"{subnet.table_bytes:,}")
        facts = {"sparsity": subnet.sparsity, "multiplications": subnet.macs, "bytes": subnet.table_bytes}
        records.append({"subnet": number} | facts)
    console.print(table)
    console.print(Text("--subnet K tells of one subnet what is told of any controller."))
    if command.json:
        write_atomically(command.json, (json.dumps({"subnets": records}, indent=2) + "\n").encode())


def policy(command: Inspect, controller: Controller) -> tuple[list[Table], tuple[str, ...], dict[str, Any]]:
    """Return what to print of a policy, and what ``--json`` writes."""
    refuse(command, "is about image networks: leave it out for a policy", "data", "features", "other")
    report = inspected_policy(controller, family_to_sample(controller, command.family), command.seed)
    facts = policy_facts(str(command.controller), controller, report)
    return [facts, layer_table(report, attended(controller))], report.notes, policy_record(controller, report)


def image_network(
    command: Inspect, classifier: Classifier, console: Console
) -> tuple[list[Table], tuple[str, ...], dict[str, Any]]:
    """Return what to print of an image network, and what ``--json`` writes."""
    refuse(command, "is about policies: leave it out for an image network", "family")
    report = inspected_classifier(classifier, command.data, command.seed, decoding_line(console))
    tables = [classifier_facts(str(command.controller), classifier, report), classifier_layers(classifier, report)]
    record = classifier_record(classifier, report)
    if command.features:
        assert command.data is not None
        other = other_network(command.other, classifier) if command.other else None
        features = feature_report(classifier, other, command.data, command.seed, decoding_line(console))
        tables.append(feature_table(features))
        record |= {"features": feature_record(features)}
    return tables, report.notes, record


def other_network(path: Path, classifier: Classifier) -> Classifier:
    """Return the image network to compare with; raise Refusal if it takes other images."""
    other = load_classifier(path)
    if other.network.side != classifier.network.side:
        raise Refusal(
            f"{path} takes images of {other.network.side} x {other.network.side}, and the controller those of "
            f"{classifier.network.side} x {classifier.network.side}: features are compared on the same images"
        )
    return other


def family_to_sample(controller: Controller, name: str | None) -> TaskFamily | None:
    """Return the family by that name or that the controller was trained on; None if that is none of metarl's."""
    if name is None and controller.metadata.family not in FAMILIES:
        return None
    return family_of(controller, family_for(controller, name))
