"""How well an image network adapts to tasks that are drawn from a folder of images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from metarl.core.randomness import Purpose, generator
from metarl.envs.images.episodes import EpisodeShape, episode_shape
from metarl.envs.images.image_set import ImageSet, Progress, load_images
from metarl.experiments.analysis.costs import TASKS
from metarl.experiments.console.intervals import Intervals, interval_records, interval_table
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
    """Tasks as the classifier was trained for, or with other numbers of images of each class.

    ValueError says what is wrong with the folder, or that it has too few classes or images.
    """
    metadata = classifier.metadata
    images = load_images(data, split, classifier.network.side, progress=progress)
    shape = episode_shape(images, classifier.network.ways, shots or metadata.shots, queries or metadata.queries)
    return TaskSource(data, split, images, shape)


def few_tasks(classifier: Classifier, data: Path, seed: int, progress: Progress | None = None) -> list[ImageTask]:
    """Tasks of the folder's split val, whose support sets attention may judge; ValueError as for ``task_source``."""
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
    """Adapts to ``tasks`` tasks of the source; ValueError if the classifier lacks what its adaptation needs."""
    network, parameters, method = classifier.network, classifier.parameters, get_method(classifier.metadata.method)
    check_adaptable(parameters, network, method, on_device=False)
    return evaluate_images(
        network, parameters, method, source.images, source.shape, tasks, seed, threads, images_at_once, on_tasks
    )


def by_steps(classifier: Classifier, evaluation: ImageEvaluation) -> Intervals:
    """The accuracies before the first inner step and after the last."""
    return dict(zip((0, classifier.metadata.inner_steps), evaluation.accuracies(), strict=True))


def accuracies_record(classifier: Classifier, source: TaskSource, evaluation: ImageEvaluation) -> dict[str, Any]:
    """What ``--json`` writes."""
    return {
        "tasks": len(evaluation.after),
        "accuracies": interval_records(by_steps(classifier, evaluation)),
        "data": str(source.data),
        "split": source.split,
        **asdict(source.shape),
    }


def accuracies_table(classifier: Classifier, source: TaskSource, evaluation: ImageEvaluation) -> Table:
    """Mean accuracy and 95 % interval before and after adaptation."""
    shape = source.shape
    title = f"{source.images.name}, {len(evaluation.after)} tasks, {shape.ways}-way {shape.shots}-shot"
    return interval_table(title, "accuracy", by_steps(classifier, evaluation), lambda share: f"{100 * share:.2f} %")
