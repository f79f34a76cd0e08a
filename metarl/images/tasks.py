"""Few-shot image tasks: how they are drawn from a split and adapted to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from metarl.envs.images.episodes import EpisodeShape, sample_episodes
from metarl.envs.images.image_set import ImageSet
from metarl.images.batch import ImageBatch, accumulated_step
from metarl.inner_loop import Scores, as_leaves, inner_step
from metarl.losses import cross_entropy
from metarl.policies.methods import STEP_SIZES, Method
from metarl.policies.networks.network import ImageNetwork, Parameters


class ImageTask(NamedTuple):
    """Labeled images to adapt to, and others to score the adapted network on."""

    support: ImageBatch
    query: ImageBatch


class Score(NamedTuple):
    """Cross-entropy and accuracy on a query set."""

    loss: float
    accuracy: float


def sample_tasks(images: ImageSet, shape: EpisodeShape, count: int, generator: np.random.Generator) -> list[ImageTask]:
    """Draw independent tasks.

    Args:
        images: The split to draw from.
        shape: Ways, shots and queries of a task.
        count: Tasks.
        generator: What they are drawn from.

    Returns:
        The tasks.
    """
    episodes = sample_episodes(images, shape, count, generator)
    tensors = (torch.from_numpy(array) for array in episodes)
    return [
        ImageTask(ImageBatch(support_images, support_labels), ImageBatch(query_images, query_labels))
        for support_images, support_labels, query_images, query_labels in zip(*tensors, strict=True)
    ]


def adapt(
    network: ImageNetwork, parameters: Parameters, method: Method, support: ImageBatch, second_order: bool
) -> tuple[Parameters, tuple[Scores, ...]]:
    """Take all inner steps on the support set.

    The support set is one batch, whose images share their attention scores: so p-Meta meta-trains (Sec. 4.1).

    Args:
        network: The network.
        parameters: Its parameters, those of the inner loop among them.
        method: Which layers are updated, and what weighs their channels.
        support: The support set.
        second_order: Whether the inner gradients depend on ``parameters``.

    Returns:
        The adapted parameters, differentiable with respect to ``parameters``, and the channels' scores by inner step.
    """
    batch, scores = support._replace(together=len(support.images)), []
    for step in range(len(parameters[STEP_SIZES])):
        parameters, of_step = inner_step(network, parameters, method, step, batch, second_order)
        scores.append(of_step)
    return parameters, tuple(scores)


def adapt_on_device(
    network: ImageNetwork, parameters: Parameters, method: Method, support: ImageBatch, images_at_once: int
) -> Parameters:
    """Take all inner steps as a device does.

    Args:
        network: The network.
        parameters: Its parameters, those of the inner loop among them.
        method: Which layers are updated, and what weighs their channels.
        support: The support set.
        images_at_once: Images in work at a time, which share their attention scores.

    Returns:
        The adapted parameters, without history.
    """
    for step in range(len(parameters[STEP_SIZES])):
        if network.norm == "batch":
            parameters = accumulated_step(network, parameters, method, step, support, images_at_once)
        else:
            # Images meet each other in the scores alone: one pass over all of them gives the same step.
            batch = support._replace(together=images_at_once)
            adapted, _ = inner_step(network, as_leaves(parameters), method, step, batch, second_order=False)
            parameters = {name: tensor.detach() for name, tensor in adapted.items()}
    return parameters


def score(logits: Tensor, labels: Tensor) -> Score:
    """Return the score of logits [image, way] for labels [image]."""
    return Score(float(cross_entropy(logits, labels)), float((logits.argmax(dim=1) == labels).double().mean()))


def mean_score(scores: Sequence[Score]) -> Score:
    """Return the mean of both numbers."""
    losses, accuracies = zip(*scores, strict=True)
    return Score(float(np.mean(losses)), float(np.mean(accuracies)))


@torch.no_grad()
def query_score(network: ImageNetwork, parameters: Parameters, query: ImageBatch) -> Score:
    """Return the score of a network on a query set."""
    logits, _ = network(parameters, query.images)
    return score(logits, query.labels)
