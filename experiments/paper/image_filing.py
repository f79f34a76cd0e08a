"""File a run on images as a result of the tables: tested and measured once, in its place images/CELL.

The networks of Table 2 stand beside their results; of the ablations the configuration and the log are kept.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from metarl.core.atomic import write_atomically
from metarl.core.errors import Refusal
from metarl.core.randomness import Purpose, generator
from metarl.envs.images.episodes import episode_shape
from metarl.envs.images.image_set import Progress, load_images
from metarl.experiments.analysis import image_costs
from metarl.experiments.analysis.adaptable import TASKS, model_cost
from metarl.experiments.analysis.image_evaluation import TaskSource, accuracies_record, evaluate_classifier
from metarl.experiments.paper.cells import BATCH_CELL, BATCHES, MAIN, Cell, Scale, place_of
from metarl.experiments.paper.results import (
    ImageCost,
    ImageResult,
    Score,
    Trial,
    begin_filing,
    device_cost,
    read_files,
    read_result,
    write_result,
)
from metarl.images.run import read_image_config
from metarl.images.settings import ImageSettings
from metarl.images.tasks import sample_tasks
from metarl.images.training import FAMILY
from metarl.policies.classifier import Classifier
from metarl.policies.loading import load_classifier
from metarl.runs.folder import CONFIG, CONTROLLER, PROGRESS

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
class Test:
    """Tasks to test a network on, and how many images its adaptation takes at once."""

    name: str
    source: TaskSource
    images_at_once: int = 1


def at_once(images: int) -> str:
    """Return the name of the test that takes ``images`` images at once."""
    return f"{images} at once"


def wanted_tests(cell: Cell, cross: bool) -> dict[str, int]:
    """Return the names of the tests of a cell, and how many images each takes at once."""
    crossing = {CROSS_DOMAIN: 1} if cross and cell in MAIN else {}
    batches = {at_once(size): size for size in BATCHES} if cell == BATCH_CELL else {}
    return {IN_DOMAIN: 1, **crossing, **batches}


def load_tests(
    cell: Cell, settings: ImageSettings, data: Path, cross: Path | None, progress: Progress | None = None
) -> list[Test]:
    """Load the images of a cell's tests.

    Args:
        cell: The cell of the tables.
        settings: The settings of the training, which give the size of the images and of the tasks.
        data: Folder of the images that the training's come from.
        cross: Folder of other images, which networks of Table 2 are tested on, too.
        progress: Called as images are decoded.

    Returns:
        The tests. Refusal is raised if the data have no test split, or too little of it.
    """
    tests = []
    for name, size in wanted_tests(cell, cross is not None).items():
        folder = (cross if name == CROSS_DOMAIN and cross else data).absolute()
        images = load_images(folder, SPLIT, settings.side, progress=progress)
        shape = episode_shape(images, settings.ways, settings.shots, settings.queries)
        tests.append(Test(name, TaskSource(folder, SPLIT, images, shape), size))
    return tests


def open_image_run(folder: Path, test_tasks: int) -> ImageRun:
    """Open the run in a folder; raise Refusal if it is none, has no epoch yet, or has no place in the tables."""
    settings = read_image_config(folder)
    try:
        cell, scale = place_of(settings, test_tasks)
    except Refusal as error:
        raise Refusal(f"{folder}: {error}") from None
    classifier = load_classifier(folder / CONTROLLER)
    if not classifier.metadata.training["best_epoch"]:
        raise Refusal(f"no epoch of the run in {folder} is complete yet")
    files = read_files(folder, (CONFIG, PROGRESS))
    files = {CONFIG: without_folders(files[CONFIG]), PROGRESS: by_epoch(files[PROGRESS])}
    return ImageRun(cell, scale, settings, classifier, files)


def without_folders(config: bytes) -> bytes:
    """Return a run's configuration with the name of the data in place of their path."""
    content = json.loads(config)
    content["settings"]["data"] = Path(content["settings"]["data"]).name
    return (json.dumps(content, indent=2) + "\n").encode()


def by_epoch(progress: bytes, limit: int = LOG_BYTES) -> bytes:
    """Return the log; if it is larger than ``limit``, only rows with a validation, as many as fit.

    They then lie equally far apart and end with the last one.
    """
    if len(progress) <= limit:
        return progress
    header, *rows = progress.decode().splitlines(keepends=True)
    column = header.rstrip("\n").split(",").index("validation_accuracy")
    validated = [row for row in rows if row.rstrip("\n").split(",")[column]]
    stride = math.ceil(sum(map(len, validated)) / max(1, limit - len(header)))
    return "".join([header, *reversed(validated[:: -max(1, stride)])]).encode()


def run_test(run: ImageRun, test: Test, threads: int, on_tasks: Callable[[int], None]) -> Trial:
    """Return the accuracies on unseen tasks, whose seed is the training's plus 1, before and after adaptation.

    Args:
        run: A filed training.
        test: The kind of tasks.
        threads: The threads of the adaptation.
        on_tasks: Called with the number of tasks done.
    """
    classifier, source, seed, tasks = run.classifier, test.source, run.settings.seed + 1, run.scale.test_tasks
    evaluation = evaluate_classifier(classifier, source, tasks, seed, threads, test.images_at_once, on_tasks)
    record = accuracies_record(classifier, source, evaluation)
    scores = tuple(Score(**each) for each in record["accuracies"])
    more = {"accuracies": scores, "data": source.data.name, "seed": seed, "images_at_once": test.images_at_once}
    return Trial(**record | more)


def result_of(run: ImageRun, trials: Mapping[str, Trial], test: Test) -> ImageResult:
    """Return the result with these trials; the cost is found on a few tasks of ``test``."""
    training = run.classifier.metadata.training
    return ImageResult(
        data=run.settings.data.name,
        scale=run.scale,
        iterations=training["iterations"],
        best_epoch=training["best_epoch"],
        trials=dict(trials),
        cost=image_step_cost(run, test) if run.cell in MAIN else None,
    )


def image_step_cost(run: ImageRun, test: Test) -> ImageCost:
    """Return the cost of the layers and channels that the network chooses on a few tasks, and its steps measured."""
    classifier, random = run.classifier, generator(run.settings.seed + 1, Purpose.ADAPTATION)
    tasks = sample_tasks(test.source.images, test.source.shape, TASKS, random)
    taken, work = image_costs.take_image_steps(classifier, tasks), image_costs.image_workload(classifier)
    measured = max(image_costs.measured_peak(classifier, task.support) for task in tasks)
    paper = model_cost(classifier, work, taken, replace(classifier.network, side=PAPER_SIDE).layers)
    return ImageCost(
        device_cost(classifier, model_cost(classifier, work, taken), measured),
        paper.peak_adaptation_bytes,
        paper.adaptation_macs,
    )


def file_image_run(run: ImageRun, result: ImageResult, results: Path) -> None:
    """Put the run's configuration, log, network and evaluation in their place.

    They replace what was there before. Raise Refusal saying what cannot be written; then there is no result.
    """
    folder = results / FAMILY / run.cell.name
    begin_filing(folder)
    for name, content in run.files.items():
        write_atomically(folder / name, content)
    if run.cell in MAIN:
        run.classifier.save(folder / CONTROLLER, overwrite=True)
    write_result(folder, result)


def add_trial(folder: Path, name: str, trial: Trial) -> None:
    """Add a trial to a result that is filed."""
    result = read_result(folder, ImageResult)
    write_result(folder, replace(result, trials=result.trials | {name: trial}))
