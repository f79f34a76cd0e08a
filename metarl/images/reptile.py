"""Reptile's outer step on images: towards the parameters that are adapted to one mini-batch of a task after another."""

from __future__ import annotations

from concurrent.futures import Executor

import torch

from metarl.core.numerics import require_finite
from metarl.images.batch import ImageBatch
from metarl.images.logs import ImageReport
from metarl.images.settings import ImageSettings
from metarl.images.tasks import ImageTask, mean_score, query_score
from metarl.inner_loop import as_leaves, inner_step
from metarl.policies.methods import get_method, trained_names
from metarl.policies.networks.network import ImageNetwork, Parameters
from metarl.reptile import clustered, moved_towards
from metarl.runs.state import TrainingState


def towards_adapted(
    state: TrainingState, settings: ImageSettings, network: ImageNetwork, tasks: list[ImageTask], executor: Executor
) -> tuple[Parameters, Parameters, ImageReport]:
    """Adapt to all tasks in lock step, and move towards the mean of the adapted parameters.

    Args:
        state: The state before the iteration.
        settings: The settings of the training.
        network: The network.
        tasks: The meta-batch.
        executor: Threads, each with a task of its own.

    Returns:
        The new parameters, the moments, which stay, and a report. NumericalFault if a parameter is not finite.
    """
    method = get_method(settings.method)
    adapted = [as_leaves(state.parameters) for _ in tasks]
    for step in range(settings.inner_steps):

        def step_from(start: Parameters, task: ImageTask, step: int = step) -> Parameters:
            return inner_step(network, start, method, step, mini_batch(task, step), second_order=False).parameters

        taken = list(executor.map(step_from, adapted, tasks))
        adapted = [as_leaves(each) for each in clustered(network, taken, adapted, settings.weight_clustering, step)]
    names, rate = trained_names(method, state.parameters), outer_rate(settings, state.iteration)
    parameters = moved_towards(state.parameters, adapted, names, rate)
    for name in names:
        require_finite("the adapted parameters are", parameters[name])
    unseen = [unseen_images(task, settings.inner_steps) for task in tasks]
    before, after = (
        mean_score(list(executor.map(lambda each, images: query_score(network, each, images), each_task, unseen)))
        for each_task in ([state.parameters] * len(tasks), adapted)
    )
    return parameters, state.moments, ImageReport(before, after, rate, kept=None)


def mini_batch(task: ImageTask, step: int) -> ImageBatch:
    """Return as many images of each class as the support set has, which is the first mini-batch.

    The next ones are taken from the query set, until all images of the task have had their turn: the steps of Reptile
    are to be on fresh data (Nichol et al., 2018, Sec. 6.3).
    """
    images, shots = by_class(task)
    chosen = (step * shots + torch.arange(shots)) % images.shape[1]
    return ImageBatch(images[:, chosen].flatten(0, 1), task.support.labels)


def unseen_images(task: ImageTask, steps: int) -> ImageBatch:
    """Return the images that no mini-batch of these steps holds; the query set if they hold them all."""
    images, shots = by_class(task)
    if steps * shots >= images.shape[1]:
        return task.query
    left = images[:, steps * shots :]
    return ImageBatch(left.flatten(0, 1), torch.arange(len(left)).repeat_interleave(left.shape[1]))


def by_class(task: ImageTask) -> tuple[torch.Tensor, int]:
    """Return all images of a task [way, image, 3, side, side], those of its support set first, and its shots.

    In both sets the images are sorted by class, and there are as many of each.
    """
    ways = int(task.support.labels[-1]) + 1
    parts = [part.images.unflatten(0, (ways, -1)) for part in task]
    return torch.cat(parts, dim=1), parts[0].shape[1]


def outer_rate(settings: ImageSettings, iteration: int) -> float:
    """Return the share of the way that an outer step goes, which falls linearly to zero after the last."""
    return settings.outer_lr * (1 - iteration / settings.iterations)
