"""One meta-iteration of MAML-TRPO, from the tasks to the new meta-parameters."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from metarl.adam import adam_step
from metarl.core.clock import Clock
from metarl.core.intervals import Interval, interval_over_tasks
from metarl.core.numerics import require_finite
from metarl.kept_channels import KeptChannels, kept_channels
from metarl.policies.attention import PREFIX
from metarl.policies.gate import GATE
from metarl.policies.methods import CHANNEL_STEP_SIZES, STEP_SIZES, Method, get_method, shrink_step_sizes, trained_names
from metarl.policies.networks.layers import Layer
from metarl.policies.networks.network import Parameters
from metarl.policies.normalization import observe
from metarl.rl.adaptation import Adaptation, AdaptationSettings, adapt_to_tasks
from metarl.rl.batch import pooled
from metarl.rl.episodes import Episodes
from metarl.rl.objective import MetaGradient, MetaObjective, TaskData, flatten
from metarl.rl.sampling import Sampler
from metarl.rl.settings import TrainSettings
from metarl.rl.trpo import LineSearch, Measured, line_search, natural_step


def task_returns(episodes: Episodes) -> Tensor:
    """Return the mean return of each task's episodes [task], in float64."""
    return episodes.returns().double().mean(dim=1)


def task_successes(episodes: Episodes) -> Tensor:
    """Return the share of each task's episodes that reached the goal [task]; NaN if the environment does not tell."""
    return episodes.successes.double().mean(dim=1)


@dataclass(frozen=True)
class IterationReport:
    """What one meta-iteration did."""

    returns: tuple[Interval, ...]  # after 0, 1, ... K inner steps, with the parameters before the outer step
    loss_before: float
    search: LineSearch
    action_std: float  # mean over the actions, before adaptation
    step_sizes: dict[str, list[float]]  # by layer, one per inner step
    kept: KeptChannels
    gate: list[list[float]]  # a and b by inner step; empty without a gate
    steps: int  # environment steps


def adaptation_settings(settings: TrainSettings) -> AdaptationSettings:
    """Return the part of the settings that the inner loop needs."""
    return AdaptationSettings(
        get_method(settings.method),
        settings.inner_steps,
        settings.episodes_per_task,
        settings.discount,
        settings.gae_lambda,
    )


def meta_iteration(
    parameters: Parameters,
    moments: Parameters,
    settings: TrainSettings,
    sampler: Sampler,
    executor: Executor,
    generator: np.random.Generator,
    clock: Clock,
) -> tuple[Parameters, Parameters, IterationReport]:
    """Sample tasks, adapt to each, and take one outer step on the adapted policies' surrogate loss.

    Policy and step sizes take a TRPO step; attention takes a step of Adam on the same meta-gradient.

    Args:
        parameters: The meta-parameters.
        moments: Adam's state.
        settings: The settings of the training.
        sampler: What rolls the policies out.
        executor: Threads, each with a task of its own.
        generator: What tasks, episodes' seeds and noise are drawn from.
        clock: Takes the time of each phase.

    Returns:
        The new parameters, the new moments and a report. NumericalFault if a number is not finite.
    """
    tasks = sampler.family.sample_tasks(settings.meta_batch_size, generator)
    inner = adaptation_settings(settings)
    adaptation = adapt_to_tasks(parameters, tasks, inner, sampler, executor, generator, clock)
    data = task_data(adaptation, inner.method)
    trusted, attention = outer_names(inner.method, parameters)
    objective = MetaObjective(
        network=sampler.network,
        method=inner.method,
        trained=trusted,
        first_order=settings.first_order,
        tasks=data,
        executor=executor,
    )
    gradient, search = outer_step(objective, parameters, attention, settings, clock)
    report = IterationReport(
        returns=tuple(interval_over_tasks(task_returns(episodes)) for episodes in adaptation.episodes),
        loss_before=gradient.loss,
        search=search,
        action_std=float(sampler.network.log_std(parameters).exp().mean()),
        step_sizes=dict(zip(sampler.network.layer_names, parameters[STEP_SIZES].mT.tolist(), strict=True)),
        kept=kept_channels(inner.method, sampler.network.layer_names, adaptation.scores),
        gate=parameters[GATE].tolist() if GATE in parameters else [],
        steps=sum(episodes.steps() for episodes in adaptation.episodes),
    )
    parameters = observe_episodes(parameters, adaptation)
    if not search.accepted:
        return parameters, moments, report
    new = objective.displaced(parameters, search.step)
    if attention:
        moved, moments = adam_step(parameters, gradient.others, moments, settings.attention_lr)
        new |= moved
    if inner.method.step_sizes == "sparse":
        new[STEP_SIZES] = shrink_step_sizes(new[STEP_SIZES], lasso_thresholds(sampler.network.layers, settings.lasso))
    return new, moments, report


def observe_episodes(parameters: Parameters, adaptation: Adaptation) -> Parameters:
    """Return the parameters with statistics, if they have any, of the iteration's observations, too."""
    for episodes in adaptation.episodes:
        parameters = observe(parameters, episodes.observations[episodes.valid])
    return parameters


def outer_names(method: Method, parameters: Parameters) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of what the trust region moves, policy and step sizes, and of what Adam moves, attention.

    Attention has more parameters than the policy, and the Fisher matrix of a few tasks says nothing of most directions
    among them: a trust-region step along these breaks the limit on the other tasks.
    """
    attention = {name for name in parameters if name.startswith((PREFIX, CHANNEL_STEP_SIZES))}
    trained = trained_names(method, parameters)
    return tuple(name for name in trained if name not in attention), tuple(sorted(attention))


def lasso_thresholds(layers: Sequence[Layer], lasso: float) -> Tensor:
    """Return lambda * m(x_{l-1}) [layer], with the memory m of each layer's input divided by the largest one."""
    memory = torch.tensor([float(layer.input_words) for layer in layers])
    return lasso * memory / memory.max()


def task_data(adaptation: Adaptation, method: Method) -> list[TaskData]:
    """Return the batches by task: all but the last are support batches, the last one is the query batch.

    A method without an inner loop has one policy in all of them, so the outer step takes all as the query batch.
    """
    by_task = zip(*adaptation.batches, strict=True)
    if not method.adapts:
        return [TaskData((), pooled(batches)) for batches in by_task]
    return [TaskData(batches[:-1], batches[-1]) for batches in by_task]


def outer_step(
    objective: MetaObjective,
    parameters: Parameters,
    others: tuple[str, ...],
    settings: TrainSettings,
    clock: Clock,
) -> tuple[MetaGradient, LineSearch]:
    """Find the TRPO step on the outer objective.

    Args:
        objective: The outer objective.
        parameters: The meta-parameters.
        others: Names of parameters whose gradient is wanted, too, and which the step does not move.
        settings: The settings of the training.
        clock: Takes the time of each phase.

    Returns:
        The meta-gradient, and the step to subtract. NumericalFault if either is not finite.
    """
    with clock.phase("meta-gradient"):
        gradient = objective.gradient(parameters, others)
        require_finite("the meta-gradient is", flatten([gradient.trained, *gradient.others.values()]))
    with clock.phase("conjugate gradient"):
        product = objective.fisher_product(parameters, settings.fisher_fraction, settings.damping)
        step = natural_step(product, gradient.trained, settings.max_kl, settings.cg_iterations)
        require_finite("the trust-region step is", step)

    def measure(candidate: Tensor) -> Measured:
        return objective.measure(objective.displaced(parameters, candidate), gradient.adapted)

    with clock.phase("line search"):
        search = line_search(
            measure, step, gradient.loss, settings.max_kl, settings.line_search_steps, settings.line_search_ratio
        )
    return gradient, search
