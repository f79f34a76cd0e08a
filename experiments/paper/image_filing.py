"""The results on images that stand in the table: each a run, tested and measured once, in its place images/CELL.

``evaluation.json`` is written last and is what makes a result. The networks of Table 2 stand beside their results; of
the ablations the configuration and the log are kept.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from metarl.core.atomic import write_atomically
from metarl.core.errors import Refusal
from metarl.core.randomness import Purpose, generator
from metarl.envs.images.episodes import episode_shape
from metarl.envs.images.image_set import Progress, load_images
from metarl.experiments.analysis import image_costs
from metarl.experiments.analysis.image_evaluation import TaskSource, accuracies_record, evaluate_classifier
from metarl.experiments.paper.filing import (
    EVALUATION,
    DeviceCost,
    begin_filing,
    device_cost_in,
    ever_adapted,
    is_filed,
    read_evaluation,
    read_files,
    write_evaluation,
)
from metarl.experiments.paper.image_cells import BATCH_CELL, BATCHES, CELLS, MAIN, Cell, Scale, place_of
from metarl.images.run import read_image_config
from metarl.images.settings import ImageSettings
from metarl.images.tasks import sample_tasks
from metarl.images.training import FAMILY
from metarl.policies.classifier import Classifier
from metarl.policies.loading import load_classifier
from metarl.runs import folder as run_folder

SPLIT = "test"
IN_DOMAIN, CROSS_DOMAIN = "in-domain", "cross-domain"
PAPER_SIDE = 84
LOG_BYTES = 60_000


@dataclass(frozen=True)
class ImageRun:
    """A run that is to be filed, finished or not, as it was at the time of looking."""

    cell: Cell
    scale: Scale
    settings: ImageSettings
    classifier: Classifier
    files: dict[str, bytes]  # the configuration and the log, as they are filed


@dataclass(frozen=True)
class Trial:
    """Tasks to test a network on, and how many images its adaptation takes at once."""

    name: str
    source: TaskSource
    images_at_once: int = 1


@dataclass(frozen=True)
class Accuracy:
    """The mean share of right labels after adaptation and its 95 % interval, and on which tasks."""

    mean: float
    ci95: float
    data: str
    queries: int


@dataclass(frozen=True)
class ImageCost:
    """One inner step on a device, for images as large as in training.

    ``paper_bytes`` and ``paper_macs`` are the model's for the same layers and channels on the paper's 84 x 84 images.
    """

    trained: DeviceCost
    paper_bytes: int
    paper_macs: int


@dataclass(frozen=True)
class ImageResult:
    """One cell: what was trained, the accuracies by name of the trial, and the cost if it belongs to Table 2."""

    data: str
    scale: Scale
    iterations: int
    accuracies: Mapping[str, Accuracy]
    cost: ImageCost | None


def at_once(images: int) -> str:
    """The trial that takes so many images at once."""
    return f"{images} at once"


def wanted_trials(cell: Cell, cross: bool) -> dict[str, int]:
    """The names of the trials of a cell, and how many images each takes at once."""
    crossing = {CROSS_DOMAIN: 1} if cross and cell in MAIN else {}
    batches = {at_once(size): size for size in BATCHES} if cell == BATCH_CELL else {}
    return {IN_DOMAIN: 1, **crossing, **batches}


def load_trials(
    cell: Cell, settings: ImageSettings, data: Path, cross: Path | None, progress: Progress | None = None
) -> list[Trial]:
    """The trials of a cell; ValueError if the data have no such split, or too little of it."""
    trials = []
    for name, size in wanted_trials(cell, cross is not None).items():
        folder = (cross if name == CROSS_DOMAIN and cross else data).absolute()
        images = load_images(folder, SPLIT, settings.side, progress=progress)
        shape = episode_shape(images, settings.ways, settings.shots, settings.queries)
        trials.append(Trial(name, TaskSource(folder, SPLIT, images, shape), size))
    return trials


def open_image_run(folder: Path, test_tasks: int) -> ImageRun:
    """The run in a folder; ValueError if it is none, if the table has no place for it, or if it has no epoch yet."""
    settings = read_image_config(folder)
    try:
        cell, scale = place_of(settings, test_tasks)
    except ValueError as error:
        raise Refusal(f"{folder}: {error}") from None
    classifier = load_classifier(folder / run_folder.CONTROLLER)
    if not classifier.metadata.training["best_epoch"]:
        raise Refusal(f"no epoch of the run in {folder} is complete yet")
    files = read_files(folder, (run_folder.CONFIG, run_folder.PROGRESS))
    files[run_folder.CONFIG] = without_folders(files[run_folder.CONFIG])
    files[run_folder.PROGRESS] = by_epoch(files[run_folder.PROGRESS])
    return ImageRun(cell, scale, settings, classifier, files)


def without_folders(config: bytes) -> bytes:
    """A run's configuration with the name of the data in place of their path."""
    content = json.loads(config)
    content["settings"]["data"] = Path(content["settings"]["data"]).name
    return (json.dumps(content, indent=2) + "\n").encode()


def by_epoch(progress: bytes, limit: int = LOG_BYTES) -> bytes:
    """The log; if it is larger than ``limit``, only the rows with a validation, and of these no more than fit.

    They then lie equally far apart and end with the last one.
    """
    if len(progress) <= limit:
        return progress
    header, *rows = progress.decode().splitlines(keepends=True)
    column = header.rstrip("\n").split(",").index("validation_accuracy")
    validated = [row for row in rows if row.rstrip("\n").split(",")[column]]
    stride = math.ceil(sum(map(len, validated)) / max(1, limit - len(header)))
    return "".join([header, *reversed(validated[:: -max(1, stride)])]).encode()


def run_trial(run: ImageRun, trial: Trial, threads: int, on_tasks: Callable[[int], None]) -> dict[str, Any]:
    """What ``evaluation.json`` holds of one trial: accuracies on unseen tasks before and after adaptation."""
    classifier, source, seed, tasks = run.classifier, trial.source, run.settings.seed + 1, run.scale.test_tasks
    evaluation = evaluate_classifier(classifier, source, tasks, seed, threads, trial.images_at_once, on_tasks)
    record = accuracies_record(classifier, source, evaluation)
    return record | {"data": source.data.name, "seed": seed, "images_at_once": trial.images_at_once}


def result_record(run: ImageRun, trials: Mapping[str, Any], trial: Trial) -> dict[str, Any]:
    """What ``evaluation.json`` holds, given those of the trials; the cost is found on a few tasks of ``trial``."""
    training = run.classifier.metadata.training
    return {
        "data": run.settings.data.name,
        "scale": asdict(run.scale),
        "iterations": training["iterations"],
        "best_epoch": training["best_epoch"],
        "trials": dict(trials),
        "cost": asdict(image_step_cost(run, trial)) if run.cell in MAIN else None,
    }


def image_step_cost(run: ImageRun, trial: Trial) -> ImageCost:
    """The cost model for the layers and channels that the network chooses on a few tasks, and its steps measured."""
    classifier, random = run.classifier, generator(run.settings.seed + 1, Purpose.ADAPTATION)
    tasks = sample_tasks(trial.source.images, trial.source.shape, image_costs.TASKS, random)
    taken = image_costs.take_image_steps(classifier, tasks)
    model, paper = (image_costs.image_cost(classifier, taken, side=side) for side in (None, PAPER_SIDE))
    trained = DeviceCost(
        layers=ever_adapted(classifier),
        peak_adaptation_bytes=model.peak_adaptation_bytes,
        adaptation_macs=model.adaptation_macs,
        measured_peak_adaptation_bytes=max(image_costs.measured_peak(classifier, task.support) for task in tasks),
    )
    return ImageCost(trained, paper.peak_adaptation_bytes, paper.adaptation_macs)


def file_image_run(run: ImageRun, record: Mapping[str, Any], results: Path) -> None:
    """Puts the run's configuration, log, network and evaluation in their place; replaces what was there before.

    ValueError says what cannot be written; then there is no result.
    """
    folder = results / FAMILY / run.cell.name
    begin_filing(folder)
    for name, content in run.files.items():
        write_atomically(folder / name, content)
    if run.cell in MAIN:
        run.classifier.save(folder / run_folder.CONTROLLER, overwrite=True)
    write_evaluation(folder, record)


def add_trial(folder: Path, name: str, record: Mapping[str, Any]) -> None:
    """Adds a trial to a result that is filed."""
    content: dict[str, Any] = read_evaluation(folder / EVALUATION, dict)
    write_evaluation(folder, content | {"trials": content["trials"] | {name: record}})


def read_image_results(results: Path) -> dict[str, ImageResult]:
    """All that is filed, by the cells' names; ValueError names a result that cannot be read."""
    return {
        name: read_evaluation(results / FAMILY / name / EVALUATION, parse_result)
        for name in CELLS
        if is_filed(results, FAMILY, name)
    }


def parse_result(content: dict[str, Any]) -> ImageResult:
    """The result in an ``evaluation.json``; errors are those of ``read_evaluation``."""
    cost = content["cost"]
    return ImageResult(
        data=str(content["data"]),
        scale=Scale(**content["scale"]),
        iterations=int(content["iterations"]),
        accuracies={name: parse_accuracy(trial) for name, trial in content["trials"].items()},
        cost=cost and ImageCost(device_cost_in(cost["trained"]), int(cost["paper_bytes"]), int(cost["paper_macs"])),
    )


def parse_accuracy(trial: dict[str, Any]) -> Accuracy:
    """That after adaptation."""
    after = trial["accuracies"][-1]
    return Accuracy(float(after["mean"]), float(after["ci95"]), str(trial["data"]), int(trial["queries"]))
