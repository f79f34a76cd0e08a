"""Few-shot episodes: N classes with K labeled images each as support set, and other images as query set."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metarl.core.errors import Refusal
from metarl.core.text import plural
from metarl.envs.images.decoding import Pixels
from metarl.envs.images.image_set import ImageSet

Images = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class EpisodeShape:
    """N-way K-shot: classes in an episode, and images of each in its support and in its query set."""

    ways: int
    shots: int
    queries: int


class Episodes(NamedTuple):
    """A batch of episodes. A class has the same label, 0 to ways - 1, in both sets; images are sorted by class."""

    support_images: Images  # [task, ways * shots, 3, side, side]
    support_labels: Labels  # [task, ways * shots]
    query_images: Images  # [task, ways * queries, 3, side, side]
    query_labels: Labels  # [task, ways * queries]


def episode_shape(images: ImageSet, ways: int, shots: int, queries: int) -> EpisodeShape:
    """Return the shape that all episodes have.

    Args:
        images: the classes and their images.
        ways: classes of an episode.
        shots: images of each class in the support set.
        queries: images of each class in the query set.

    Returns:
        The shape, with fewer queries and a warning where the smallest class has fewer than ``shots + queries`` images.
        Raise ValueError if it leaves no query, or if there are fewer classes than ways.
    """
    if ways < 2:
        raise Refusal(f"an episode needs at least 2 ways, got {ways}")
    for name, value in (("shot", shots), ("query", queries)):
        if value < 1:
            raise Refusal(f"an episode needs at least 1 {name} for each class, got {value}")
    if ways > len(images.classes):
        raise Refusal(f"{images.name} has {len(images.classes)} classes: too few for {ways} ways")
    counts = images.counts
    smallest = int(counts.argmin())
    left = int(counts[smallest]) - shots
    if left < 1:
        raise Refusal(
            f"the class '{images.classes[smallest]}' of {images.name} has {plural(int(counts[smallest]), 'image')}: "
            f"{shots}-shot episodes need at least {shots + 1}, one of them for the query set"
        )
    if left < queries:
        warnings.warn(
            f"the smallest class of {images.name} has {counts[smallest]} images: {shots}-shot episodes have "
            f"{left} instead of {queries} queries of each class",
            stacklevel=2,
        )
    return EpisodeShape(ways, shots, min(queries, left))


def sample_episodes(images: ImageSet, shape: EpisodeShape, tasks: int, generator: np.random.Generator) -> Episodes:
    """Draw independent episodes: classes uniformly without replacement, and of each class its images in the same way.

    Args:
        images: the classes and their images.
        shape: as ``episode_shape`` returns it.
        tasks: number of episodes.
        generator: source of the random numbers.

    Returns:
        The episodes, with normalized images.
    """
    counts = images.counts
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    each = shape.shots + shape.queries
    chosen = np.empty((tasks, shape.ways, each), dtype=np.int64)
    for task in chosen:
        for way, label in zip(task, generator.choice(len(counts), shape.ways, replace=False), strict=True):
            way[:] = starts[label] + generator.choice(counts[label], each, replace=False)
    labels = np.arange(shape.ways)

    def part(indices: NDArray[np.int64]) -> tuple[Images, Labels]:
        rows = indices.reshape(tasks, -1)
        pixels = normalize(images.pixels[rows])
        return pixels, np.tile(np.repeat(labels, indices.shape[-1]), (tasks, 1))

    return Episodes(*part(chosen[..., : shape.shots]), *part(chosen[..., shape.shots :]))


def normalize(pixels: Pixels) -> Images:
    """Return pixels [..., side, side, 3] from 0 to 255 as images [..., 3, side, side] from -1 to 1: x / 127.5 - 1.

    The scale is the same for all data sets and channels, so that a device needs no statistics of the data.
    """
    scaled = np.moveaxis(pixels, -1, -3).astype(np.float32, order="C")
    scaled /= np.float32(127.5)
    scaled -= np.float32(1)
    return scaled
