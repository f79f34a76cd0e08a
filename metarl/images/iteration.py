"""One meta-iteration on images, from the tasks to the new meta-parameters."""

from __future__ import annotations

import math
from concurrent.futures import Executor
from typing import NamedTuple

import torch
from torch import Tensor

from metarl.adam import adam_step, step_lengths
from metarl.core.clock import Clock
from metarl.core.numerics import require_finite
from metarl.core.randomness import Purpose, generator
from metarl.images.logs import ImageReport
from metarl.images.reptile import towards_adapted
from metarl.images.settings import ImageSettings
from metarl.images.start import ImageData
from metarl.images.tasks import ImageTask, Score, adapt, mean_score, query_score, sample_tasks, score
from metarl.inner_loop import Scores, as_leaves
from metarl.kept_channels import kept_channels
from metarl.losses import cross_entropy
from metarl.policies.methods import STEP_SIZES, Method, get_method, shrink_step_sizes, trained_names
from metarl.policies.networks.network import ImageNetwork, Parameters
from metarl.runs.state import TrainingState


class MetaGradient(NamedTuple):
    """The gradient of the mean query loss, and what else one pass over the tasks gives."""

    gradients: Parameters
    before: Score  # mean over the tasks, before adaptation
    after: Score
    scores: tuple[tuple[Scores, ...], ...]  # of the channels, as [inner step][task]


def image_iteration(
    state: TrainingState,
    settings: ImageSettings,
    network: ImageNetwork,
    data: ImageData,
    executor: Executor,
    clock: Clock,
) -> tuple[Parameters, Parameters, ImageReport]:
    """Sample tasks, and take the step of the method's outer loop: the one place where methods differ in it.

    Args:
        state: The state before the iteration.
        settings: The settings of the training.
        network: The network.
        data: The images.
        executor: Threads, each with a task of its own.
        clock: Takes the time of each phase.

    Returns:
        The new parameters, the new moments and a report. NumericalFault if a number is not finite.
    """
    random = generator(settings.seed, Purpose.TRAINING, state.iteration)
    with clock.phase("sampling"):
        tasks = sample_tasks(data.training, data.training_shape, settings.tasks_per_iteration, random)
    if get_method(settings.method).outer == "towards":
        with clock.phase("meta-gradient"):  # for the way to the adapted parameters stands in for it
            return towards_adapted(state, settings, network, tasks, executor)
    return along_meta_gradient(state, settings, network, tasks, executor, clock)


def along_meta_gradient(
    state: TrainingState,
    settings: ImageSettings,
    network: ImageNetwork,
    tasks: list[ImageTask],
    executor: Executor,
    clock: Clock,
) -> tuple[Parameters, Parameters, ImageReport]:
    """Adapt to each task, and take one step of Adam on the mean query loss of the adapted networks.

    Sparse step sizes then take the proximal step of the Lasso in Adam's own metric, so that the penalty weighs against
    the loss as it does in their sum; none goes below zero (Yun et al., NeurIPS 2021).

    Args:
        state: The state before the iteration.
        settings: The settings of the training.
        network: The network.
        tasks: The meta-batch.
        executor: Threads, each with a task of its own.
        clock: Takes the time of each phase.

    Returns:
        The new parameters, the new moments and a report. NumericalFault if the meta-gradient is not finite.
    """
    method = get_method(settings.method)
    with clock.phase("meta-gradient"):
        gradients, before, after, scores = meta_gradient(
            network, state.parameters, method, tasks, settings.first_order, executor
        )
        for gradient in gradients.values():
            require_finite("the meta-gradient is", gradient)
    rate = learning_rate(settings, state.iteration)
    with clock.phase("adam"):
        moved, moments = adam_step(state.parameters, gradients, state.moments, rate)
        parameters = state.parameters | moved
        if method.step_sizes == "sparse":
            lengths = step_lengths(moments, STEP_SIZES, rate)
            thresholds = lengths * settings.lasso * input_memory(network)
            parameters[STEP_SIZES] = shrink_step_sizes(parameters[STEP_SIZES], thresholds)
    kept = None
    if (state.iteration + 1) % settings.iterations_per_epoch == 0:
        kept = kept_channels(method, network.layer_names, scores)
    return parameters, moments, ImageReport(before, after, rate, kept)


def meta_gradient(
    network: ImageNetwork,
    parameters: Parameters,
    method: Method,
    tasks: list[ImageTask],
    first_order: bool,
    executor: Executor,
) -> MetaGradient:
    """Return the gradient of the mean query loss after adaptation with respect to all that the outer loop trains.

    Args:
        network: The network.
        parameters: The meta-parameters.
        method: Which layers the inner loop updates, and what weighs their channels.
        tasks: The meta-batch.
        first_order: Whether the inner gradients count as constants.
        executor: Threads, each with a task of its own.

    Returns:
        The gradient, and what else one pass over the tasks gives.
    """
    trained = trained_names(method, parameters)

    def term(task: ImageTask) -> tuple[tuple[Tensor, ...], Score, Score, tuple[Scores, ...]]:
        leaves = as_leaves(parameters, trained)
        adapted, scores = adapt(network, leaves, method, task.support, second_order=not first_order)
        logits, _ = network(adapted, task.query.images)
        loss = cross_entropy(logits, task.query.labels)
        gradients = torch.autograd.grad(loss, [leaves[name] for name in trained], materialize_grads=True)
        before, after = query_score(network, parameters, task.query), score(logits.detach(), task.query.labels)
        return gradients, before, after, scores

    gradients, before, after, scores = zip(*executor.map(term, tasks), strict=True)
    mean = {
        name: torch.stack(parts).mean(dim=0) for name, parts in zip(trained, zip(*gradients, strict=True), strict=True)
    }
    return MetaGradient(mean, mean_score(before), mean_score(after), tuple(zip(*scores, strict=True)))


def learning_rate(settings: ImageSettings, iteration: int) -> float:
    """Return the rate on half a cosine from the initial one to zero after the last (Loshchilov and Hutter 2017)."""
    return settings.learning_rate * (1 + math.cos(math.pi * iteration / settings.iterations)) / 2


def input_memory(network: ImageNetwork) -> Tensor:
    """Return m(x_{l-1}) [layer] of p-Meta, eq. 9: the memory of each layer's input divided by the largest one."""
    memory = torch.tensor([float(layer.input_words) for layer in network.layers])
    return memory / memory.max()
