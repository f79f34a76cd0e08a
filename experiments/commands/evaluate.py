"""``metarl evaluate``: returns or accuracies on many unseen tasks, before and after adaptation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.table import Table

from metarl import api
from metarl.core.atomic import write_atomically
from metarl.core.errors import Refusal
from metarl.core.threads import available_threads
from metarl.experiments.analysis.evaluation import returns_record, returns_table
from metarl.experiments.analysis.image_evaluation import (
    accuracies_record,
    accuracies_table,
    evaluate_classifier,
    task_source,
)
from metarl.experiments.console.families import family_for
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import check_new_file, parse, refuse, require_at_least
from metarl.experiments.console.progress import decoding_line, live_progress
from metarl.policies.classifier import Classifier
from metarl.policies.controller import Controller
from metarl.policies.loading import load

POLICY_TASKS = 400
IMAGE_TASKS = 5000
OF_POLICIES = ("horizon", "family")
OF_IMAGES = ("data", "split", "shots", "queries", "images_at_once")


@dataclass(frozen=True)
class Evaluate:
    """Adapt a controller to many unseen tasks; report the mean and its 95 % interval before and after.

    Of a policy the return, of an image network the accuracy.
    """

    controller: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CONTROLLER")]
    """The controller's file, of a policy or of an image network, or FAMILY/METHOD of one that ships with metarl."""
    tasks: int | None = None
    """How many unseen tasks; 400 for a policy and 5000 for an image network if left out."""
    seed: int = 1
    """Seed of the tasks and the episodes."""
    horizon: int | None = None
    """Time steps in an episode of a policy; those of the training if left out."""
    json: Path | None = None
    """Write the numbers to this file, which must be new."""
    family: str | None = None
    """Task family; needed where the policy was trained on one of your own (module:attribute)."""
    data: Path | None = None
    """Folder of images; an image network needs it."""
    split: Literal["train", "val", "test"] | None = None
    """Which classes of the folder; test if left out."""
    shots: int | None = None
    """Images of each class to adapt an image network to; as in its training if left out."""
    queries: int | None = None
    """Images of each class to tell the accuracy from; as in the training, or all there are, if left out."""
    images_at_once: int | None = None
    """Images that the adaptation takes at a time, as a device does; 1 if left out."""
    threads: int = available_threads()
    """Threads of the simulator and of the adaptation."""

    def __post_init__(self) -> None:
        require_at_least(0, seed=self.seed)
        counts = ("tasks", "horizon", "shots", "queries", "images_at_once", "threads")
        require_at_least(1, **{name: getattr(self, name) for name in counts})


def main(arguments: Sequence[str]) -> None:
    """Runs the command; ValueError says what is wrong with its arguments."""
    command = parse(Evaluate, arguments, "metarl evaluate")
    if command.json:
        check_new_file(command.json)
    console = Terminal()
    loaded = load(command.controller)
    if isinstance(loaded, Classifier):
        table, record = image_accuracies(command, loaded, console)
    else:
        table, record = policy_returns(command, loaded, console)
    console.print(table)
    if command.json:
        write_atomically(command.json, (json.dumps(record, indent=2) + "\n").encode())


def policy_returns(command: Evaluate, controller: Controller, console: Console) -> tuple[Table, dict[str, Any]]:
    """Evaluates a policy; what is printed, and what ``--json`` writes."""
    refuse(command, OF_IMAGES, "is about image networks: leave it out for a policy")
    family, tasks = family_for(controller, command.family), command.tasks or POLICY_TASKS
    with live_progress(console, tasks, "tasks") as show:
        evaluation = api.evaluate(
            controller,
            tasks=tasks,
            seed=command.seed,
            horizon=command.horizon,
            family=family,
            threads=command.threads,
            on_tasks=lambda done: show(done, ""),
        )
    table = returns_table(evaluation, f"{controller.metadata.family}, {tasks} unseen tasks")
    return table, returns_record(evaluation)


def image_accuracies(command: Evaluate, classifier: Classifier, console: Console) -> tuple[Table, dict[str, Any]]:
    """Evaluates an image network; what is printed, and what ``--json`` writes."""
    refuse(command, OF_POLICIES, "is about policies: leave it out for an image network")
    if command.data is None:
        raise Refusal("an image network is evaluated on images: name their folder with --data")
    source = task_source(
        classifier, command.data, command.split or "test", command.shots, command.queries, decoding_line(console)
    )
    tasks = command.tasks or IMAGE_TASKS
    with live_progress(console, tasks, "tasks") as show:
        evaluation = evaluate_classifier(
            classifier,
            source,
            tasks,
            command.seed,
            command.threads,
            command.images_at_once or 1,
            on_tasks=lambda done: show(done, ""),
        )
    return accuracies_table(classifier, source, evaluation), accuracies_record(classifier, source, evaluation)
