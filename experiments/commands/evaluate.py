"""``metarl evaluate``: returns or accuracies on many unseen tasks, before and after adaptation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.table import Table

from metarl import api
from metarl.core.atomic import write_atomically
from metarl.core.errors import Refusal
from metarl.core.threads import available_threads
from metarl.experiments.analysis import plots, target_grid
from metarl.experiments.analysis.evaluation import returns_record, returns_table
from metarl.experiments.analysis.image_evaluation import (
    accuracies_record,
    accuracies_table,
    evaluate_classifier,
    task_accuracies,
    task_source,
)
from metarl.experiments.console.constructors import ControllerFile, Family, Maybe
from metarl.experiments.console.families import family_for
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import check_new_file, parse, refuse, require_at_least
from metarl.experiments.console.progress import decoding_line
from metarl.experiments.console.workers import WorkerOptions
from metarl.policies.classifier import Classifier
from metarl.policies.controller import Controller
from metarl.policies.loading import load
from metarl.rl.variation import varied
from metarl.runs.progress import live_progress

POLICY_TASKS = 400
IMAGE_TASKS = 5000


@dataclass(frozen=True)
class PolicyOptions:
    """Options of policies alone."""

    horizon: Maybe[int] = None
    """Time steps in an episode; as in the training if left out."""
    episodes: Maybe[int] = None
    """Episodes in an inner step, and in each evaluation; as in the training if left out."""
    inner_steps: Maybe[int] = None
    """Inner steps; as in the training if left out. Steps beyond those repeat the last one."""
    grid: Maybe[int] = None
    """Targets on an even grid, in place of unseen tasks: the returns of each, for a family with one task field."""
    plot: Maybe[Path] = None
    """Draw the returns over the targets of --grid to this PNG file, which must be new."""
    deterministic: bool = False
    """Evaluate the mean or most likely actions, without exploration noise; the inner steps explore all the same."""
    family: Family = None
    """Task family; needed where the policy was trained on one of your own (module:attribute)."""

    def __post_init__(self) -> None:
        require_at_least(1, horizon=self.horizon, episodes=self.episodes, inner_steps=self.inner_steps, grid=self.grid)
        if self.plot is not None and self.grid is None:
            raise Refusal("--plot draws the returns over the targets of --grid: say how many, e.g. --grid 20")


@dataclass(frozen=True)
class ImageOptions:
    """Options of image networks alone."""

    data: Maybe[Path] = None
    """Folder of images; an image network needs it."""
    split: Maybe[Literal["train", "val", "test"]] = None
    """Which classes of the folder; test if left out."""
    shots: Maybe[int] = None
    """Images of each class to adapt to; as in the training if left out."""
    queries: Maybe[int] = None
    """Images of each class to tell the accuracy from; as in the training, or all there are, if left out."""
    images_at_once: Maybe[int] = None
    """Images that the adaptation takes at a time, as a device does; 1 if left out."""

    def __post_init__(self) -> None:
        require_at_least(1, shots=self.shots, queries=self.queries, images_at_once=self.images_at_once)


@dataclass(frozen=True)
class Evaluate:
    """Adapt a controller to many unseen tasks.

    Print the mean return of a policy, or the mean accuracy of an image network, before and after, with 95 % intervals.
    """

    controller: ControllerFile
    """The file of a policy or of an image network, a run's folder, or FAMILY/METHOD of one that ships with metarl."""
    subnet: Maybe[int] = None
    """Which subnet of a nested controller, 1 the densest."""
    tasks: Maybe[int] = None
    """How many unseen tasks; 400 for a policy and 5000 for an image network if left out."""
    seed: int = 1
    """Seed of the tasks and the episodes."""
    json: Maybe[Path] = None
    """Write the numbers, those of each task among them, to this file, which must be new."""
    threads: int = available_threads()
    """Threads of the simulator and of the adaptation."""
    workers: Annotated[WorkerOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=WorkerOptions)
    policy: Annotated[PolicyOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=PolicyOptions)
    image: Annotated[ImageOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=ImageOptions)

    def __post_init__(self) -> None:
        require_at_least(0, seed=self.seed)
        require_at_least(1, tasks=self.tasks, threads=self.threads)


def main(arguments: Sequence[str]) -> None:
    """Run the command; raise Refusal saying what is wrong with its arguments."""
    command = parse(Evaluate, arguments, "metarl evaluate")
    if command.json:
        check_new_file(command.json)
    console = Terminal()
    loaded = load(command.controller, command.subnet)
    if isinstance(loaded, Classifier):
        table, record = image_accuracies(command, loaded, console)
    else:
        table, record = policy_returns(command, loaded, console)
    console.print(table)
    if command.json:
        write_atomically(command.json, (json.dumps(record, indent=2) + "\n").encode())


def policy_returns(command: Evaluate, controller: Controller, console: Console) -> tuple[Table, dict[str, Any]]:
    """Evaluate a policy; return what is printed, and what ``--json`` writes."""
    refuse(command.image, "is about image networks: leave it out for a policy")
    options, tasks = command.policy, command.policy.grid or command.tasks or POLICY_TASKS
    if options.grid and command.tasks:
        raise Refusal("--grid says which tasks: leave --tasks out")
    if options.plot:
        check_new_file(options.plot)
    family = family_for(controller, options.family)
    controller = varied(controller, options.horizon, options.episodes, options.inner_steps)
    with live_progress(console, tasks, "tasks") as show:
        evaluation = api.evaluate(
            controller,
            tasks=tasks,
            grid=options.grid,
            seed=command.seed,
            deterministic=options.deterministic,
            family=family,
            threads=command.threads,
            on_tasks=lambda done: show(done, ""),
            cluster=command.workers.cluster(),
        )
    record = returns_record(evaluation, controller, family, command.seed, options.deterministic)
    if options.grid is None:
        return returns_table(evaluation, family, options.deterministic), record
    if options.plot:
        title = f"{family.name}, {controller.metadata.method}"
        plots.write(target_grid.grid_plot(evaluation, family, title), options.plot)
    record["grid"] = target_grid.grid_records(evaluation, family)
    return target_grid.grid_table(evaluation, family), record


def image_accuracies(command: Evaluate, classifier: Classifier, console: Console) -> tuple[Table, dict[str, Any]]:
    """Evaluate an image network; return what is printed, and what ``--json`` writes."""
    refuse(command.policy, "is about policies: leave it out for an image network")
    refuse(command.workers, "is about policies: leave it out for an image network")
    options, tasks = command.image, command.tasks or IMAGE_TASKS
    if options.data is None:
        raise Refusal("an image network is evaluated on images: name their folder with --data")
    source = task_source(
        classifier, options.data, options.split or "test", options.shots, options.queries, decoding_line(console)
    )
    at_once = options.images_at_once or 1
    with live_progress(console, tasks, "tasks") as show:
        evaluation = evaluate_classifier(
            classifier, source, tasks, command.seed, command.threads, at_once, on_tasks=lambda done: show(done, "")
        )
    record = accuracies_record(classifier, source, evaluation) | {
        "method": classifier.metadata.method,
        "images_at_once": at_once,
        "seed": command.seed,
        "task_accuracies": task_accuracies(evaluation),
    }
    return accuracies_table(classifier, source, evaluation), record
