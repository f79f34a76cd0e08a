"""Evaluate an image network on tasks drawn from a folder of images, and present the accuracies."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from metarl.core.randomness import Purpose, generator
from metarl.core.threads import single_threaded_torch
from metarl.envs.images.episodes import EpisodeShape, episode_shape
from metarl.envs.images.image_set import ImageSet, Progress, load_images
from metarl.experiments.analysis.adaptable import TASKS
from metarl.experiments.console.intervals import Intervals, interval_records, interval_table, percent
from metarl.images.evaluation import ImageEvaluation, evaluate_images
from metarl.images.tasks import ImageTask, sample_tasks
from metarl.policies.classifier import Classifier
from metarl.policies.files.checks import check_adaptable
from metarl.policies.methods import get_method


@dataclass(frozen=True)
class TaskSource:
    """A split of a folder of images, and the tasks drawn from it."""

    data: Path
    split: str
    images: ImageSet
    shape: EpisodeShape


def task_source(
    classifier: Classifier,
    data: Path,
    split: str,
    shots: int | None = None,
    queries: int | None = None,
    progress: Progress | None = None,
) -> TaskSource:
    """Return the tasks of a folder of images.

    Args:
        classifier: Whose numbers of classes and images the tasks have.
        data: The folder.
        split: Its split: train, val or test.
        shots: Images of each class to adapt to; as in the classifier's training if left out.
        queries: Images of each class to tell the accuracy from; as in its training if left out.
        progress: Called as images are decoded.

    Returns:
        The tasks. Refusal says what is wrong with the folder, or that it has too few classes or images.
    """
    metadata = classifier.metadata
    images = load_images(data, split, classifier.network.side, progress=progress)
    shape = episode_shape(images, classifier.network.ways, shots or metadata.shots, queries or metadata.queries)
    return TaskSource(data, split, images, shape)


def few_tasks(classifier: Classifier, data: Path, seed: int, progress: Progress | None = None) -> list[ImageTask]:
    """Return a few tasks of the folder's split val, for attention to judge; raise Refusal as ``task_source`` does.

    Args:
        classifier: The network, which says what a task is.
        data: The folder of the data set.
        seed: The seed of the tasks.
        progress: Called while images are read.
    """
    source = task_source(classifier, data, "val", queries=1, progress=progress)
    return sample_tasks(source.images, source.shape, TASKS, generator(seed, Purpose.ADAPTATION))


def evaluate_classifier(
    classifier: Classifier,
    source: TaskSource,
    tasks: int,
    seed: int,
    threads: int,
    images_at_once: int = 1,
    on_tasks: Callable[[int], None] = lambda done: None,
) -> ImageEvaluation:
    """Adapt a classifier to tasks of a folder of images.

    Args:
        classifier: The classifier.
        source: What the tasks are drawn from.
        tasks: Number of tasks.
        seed: Seed of the tasks.
        threads: Threads of the adaptation.
        images_at_once: Images that an inner step takes at a time.
        on_tasks: Is told how many tasks are done.

    Returns:
        The scores. Refusal is raised if the classifier lacks what its adaptation needs.
    """
    network, parameters, method = classifier.network, classifier.parameters, get_method(classifier.metadata.method)
    check_adaptable(parameters, network, method, on_device=False)
    with single_threaded_torch(), ThreadPoolExecutor(threads) as executor:
        return evaluate_images(
            executor, network, parameters, method, source.images, source.shape, tasks, seed, images_at_once, on_tasks
        )


def by_steps(classifier: Classifier, evaluation: ImageEvaluation) -> Intervals:
    """Return the accuracies before the first inner step and after the last."""
    return dict(zip((0, classifier.metadata.inner_steps), evaluation.accuracies(), strict=True))


def accuracies_record(classifier: Classifier, source: TaskSource, evaluation: ImageEvaluation) -> dict[str, Any]:
    """Return what ``--json`` writes."""
    return {
        "tasks": len(evaluation.after),
        "accuracies": interval_records(by_steps(classifier, evaluation)),
        "data": str(source.data),
        "split": source.split,
        **asdict(source.shape),
    }


def task_accuracies(evaluation: ImageEvaluation) -> list[list[float]]:
    """Return the accuracies of each task before and after adaptation."""
    return [[each.accuracy for each in scores] for scores in zip(evaluation.before, evaluation.after, strict=True)]


def accuracies_table(classifier: Classifier, source: TaskSource, evaluation: ImageEvaluation) -> Table:
    """Return the mean accuracy and 95 % interval before and after adaptation."""
    shape = source.shape
    title = f"{source.images.name}, {len(evaluation.after)} tasks, {shape.ways}-way {shape.shots}-shot"
    return interval_table(title, {"mean accuracy": (by_steps(classifier, evaluation), percent)})
