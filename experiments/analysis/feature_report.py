"""Measure how an image network's features cluster, and how far adaptation moves it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table
from torch import Tensor

from metarl.core.intervals import Interval, interval_over_tasks
from metarl.core.randomness import Purpose, generator
from metarl.core.threads import single_threaded_torch
from metarl.envs.images.episodes import EpisodeShape, sample_episodes
from metarl.envs.images.image_set import ImageSet, Progress
from metarl.experiments.analysis.image_evaluation import TaskSource, task_source
from metarl.images.features import (
    feature_clustering,
    features_of,
    hyperplane_variation,
    linear_cka,
    variance_ratio,
)
from metarl.images.tasks import adapt_on_device, sample_tasks
from metarl.policies.classifier import Classifier
from metarl.policies.files.checks import check_adaptable
from metarl.policies.methods import get_method
from metarl.reptile import filter_distance

PAIRS = 200  # of classes, with two images each
TASKS = 20  # that the network adapts to
CLASSES = 64  # that the ratio and the comparison are over
CAPTION = (
    "Clustering: the variance of features within two classes over that between them, 4 where features do not depend "
    "on the class. Hyperplane variation: how much the line between two classes turns with its images, 2 where features "
    "do not depend on the class. Travelled: how far an adaptation turns the network's filters."
)


@dataclass(frozen=True)
class FeatureReport:
    """What was measured, on images of classes that the network was not trained on."""

    clustering: Interval  # over pairs of classes
    hyperplane_variation: Interval
    variance_ratio: float
    travelled: Interval  # over tasks
    cka: float | None  # with another network


def feature_report(
    classifier: Classifier, other: Classifier | None, data: Path, seed: int, progress: Progress | None = None
) -> FeatureReport:
    """Measure a network on the folder's split test.

    Args:
        classifier: The network.
        other: Another one for images of the same side, to compare with; None for none.
        data: The folder of images.
        seed: Seed of pairs, images and tasks.
        progress: Called while images are read.

    Returns:
        The report. Refusal says what is wrong with the folder or the network.
    """
    check_adaptable(classifier.parameters, classifier.network, get_method(classifier.metadata.method), on_device=False)
    source = task_source(classifier, data, "test", queries=1, progress=progress)
    random = generator(seed, Purpose.EVALUATION)
    with single_threaded_torch():
        first, second = features_of_pairs(classifier, source.images, random)
        images, labels = images_of_classes(source.images, random)
        features = features_of(classifier.network, classifier.parameters, images)
        alike = None
        if other is not None:
            alike = float(linear_cka(features, features_of(other.network, other.parameters, images)))
        return FeatureReport(
            clustering=interval_over_tasks(feature_clustering(first, second)),
            hyperplane_variation=interval_over_tasks(hyperplane_variation(first, second)),
            variance_ratio=float(variance_ratio(features, labels)),
            travelled=interval_over_tasks(distances(classifier, source, random)),
            cka=alike,
        )


def features_of_pairs(classifier: Classifier, images: ImageSet, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return the features of two images of the first class and of the second class of PAIRS, [pair, 2, feature]."""
    pairs = sample_episodes(images, EpisodeShape(2, 1, 1), PAIRS, random)
    both = torch.from_numpy(np.stack([pairs.support_images, pairs.query_images], axis=2))  # [pair, class, 2, ...]
    features = features_of(classifier.network, classifier.parameters, both.flatten(0, 2)).unflatten(0, both.shape[:3])
    return features[:, 0], features[:, 1]


def images_of_classes(images: ImageSet, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return two images of each of CLASSES classes, or of all if there are fewer, and their labels."""
    shape = EpisodeShape(min(CLASSES, len(images.classes)), 1, 1)
    batch = sample_episodes(images, shape, 1, random)
    pixels = np.concatenate([batch.support_images[0], batch.query_images[0]])
    return torch.from_numpy(pixels), torch.from_numpy(np.tile(batch.support_labels[0], 2))


def distances(classifier: Classifier, source: TaskSource, random: np.random.Generator) -> Tensor:
    """Return how far the adaptation to each of TASKS tasks moves the network, [task]."""
    network, parameters, method = classifier.network, classifier.parameters, get_method(classifier.metadata.method)
    travelled = []
    for task in sample_tasks(source.images, source.shape, TASKS, random):
        adapted = adapt_on_device(network, parameters, method, task.support, len(task.support.images))
        travelled.append(filter_distance(network, adapted, parameters))
    return torch.tensor(travelled)


def feature_table(report: FeatureReport) -> Table:
    """Return a row per number."""
    table = Table("features", "mean", "95 % interval", caption=CAPTION, caption_justify="left")
    rows: dict[str, Interval | float | None] = {
        f"clustering, {PAIRS} pairs of classes": report.clustering,
        f"hyperplane variation, {PAIRS} pairs": report.hyperplane_variation,
        f"within over between, {CLASSES} classes at most": report.variance_ratio,
        f"travelled, {TASKS} tasks": report.travelled,
        "alike the other network's (linear CKA)": report.cka,
    }
    for name, value in rows.items():
        if isinstance(value, Interval):
            table.add_row(name, f"{value.mean:.3f}", f"± {value.ci95:.3f}")
        elif value is not None:
            table.add_row(name, f"{value:.3f}", "")
    return table


def feature_record(report: FeatureReport) -> dict[str, Any]:
    """Return what ``--json`` writes."""
    return asdict(report)
