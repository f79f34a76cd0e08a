"""One meta-iteration of a policy, from the tasks to the new meta-parameters."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from metarl.core.clock import Clock
from metarl.core.intervals import Interval, interval_over_tasks
from metarl.kept_channels import KeptChannels, kept_channels
from metarl.policies.gate import GATE
from metarl.policies.methods import STEP_SIZES, get_method
from metarl.policies.networks.mlp import PolicyNetwork
from metarl.policies.networks.network import Parameters
from metarl.policies.normalization import observe
from metarl.rl.adaptation import Adaptation, AdaptationSettings, adapt_to_tasks
from metarl.rl.attention_log import attention_row
from metarl.rl.episodes import Episodes
from metarl.rl.outer import OuterStep, outer_step
from metarl.rl.sampling import Sampler
from metarl.rl.settings import TrainSettings


def task_returns(episodes: Episodes) -> Tensor:
    """Return the mean return of each task's episodes [task], in float64."""
    return episodes.returns().double().mean(dim=1)


def task_successes(episodes: Episodes) -> Tensor:
    """Return the share of each task's episodes that reached the goal [task]; NaN if the environment does not tell."""
    return episodes.successes.double().mean(dim=1)


def success_intervals(successes: Tensor) -> tuple[Interval, ...]:
    """Return the success rate and its 95 % interval over tasks, by inner steps; empty if it is not known.

    ``successes`` [inner step, task] are the tasks' own rates, NaN if the environment does not tell.
    """
    if bool(successes.isnan().any()):
        return ()
    return tuple(interval_over_tasks(rates) for rates in successes)


@dataclass(frozen=True)
class IterationReport:
    """What one meta-iteration did."""

    returns: tuple[Interval, ...]  # after 0, 1, ... K inner steps, with the parameters before the outer step
    successes: tuple[Interval, ...]  # success rates, likewise; empty if the environment does not tell
    step: OuterStep
    spread: dict[str, float]  # how widely actions spread before adaptation, by the name of the log
    step_sizes: dict[str, list[float]]  # by layer, one per inner step
    kept: KeptChannels
    attention: dict[str, float]  # how its scores are spread and what its step did, by the names of the log
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
        settings.baseline,
        settings.weight_clustering,
    )


def meta_iteration(
    parameters: Parameters,
    moments: Parameters,
    settings: TrainSettings,
    sampler: Sampler,
    executor: Executor,
    generator: np.random.Generator,
    clock: Clock,
    movable: Parameters | None = None,
) -> tuple[Parameters, Parameters, IterationReport]:
    """Sample tasks, adapt to each, and take the outer step of the method.

    Args:
        parameters: The meta-parameters.
        moments: Adam's state.
        settings: The settings of the training.
        sampler: What rolls the policies out.
        executor: Threads, each with a task of its own.
        generator: What tasks, episodes' seeds and noise are drawn from.
        clock: Takes the time of each phase.
        movable: By name, 1 where a number may move and 0 where it stays; None if all may.

    Returns:
        The new parameters, the new moments and a report. NumericalFault if a number is not finite.
    """
    tasks = sampler.family.sample_tasks(settings.meta_batch_size, generator)
    inner = adaptation_settings(settings)
    adaptation = adapt_to_tasks(
        parameters, tasks, inner, sampler, executor, generator, clock, inner.method.outer == "gradient"
    )
    step = outer_step(parameters, moments, adaptation, settings, sampler.network, executor, clock, movable)
    report = IterationReport(
        returns=tuple(interval_over_tasks(task_returns(episodes)) for episodes in adaptation.episodes),
        successes=success_intervals(torch.stack([task_successes(episodes) for episodes in adaptation.episodes])),
        step=step,
        spread=spread_before(sampler.network, parameters, adaptation),
        step_sizes=dict(zip(sampler.network.layer_names, parameters[STEP_SIZES].mT.tolist(), strict=True)),
        kept=kept_channels(inner.method, sampler.network.layer_names, adaptation.scores),
        attention=attention_row(adaptation.scores, step.attention),
        gate=parameters[GATE].tolist() if GATE in parameters else [],
        steps=sum(episodes.steps() for episodes in adaptation.episodes),
    )
    return observe_episodes(step.parameters, adaptation), step.moments, report


def spread_before(network: PolicyNetwork, parameters: Parameters, adaptation: Adaptation) -> dict[str, float]:
    """Return how widely the actions spread before adaptation, by the name of the log."""
    observations = (batch.observations[batch.valid] for batch in adaptation.batches[0])
    return {network.spread_name: network.spread(parameters, observations)}


def observe_episodes(parameters: Parameters, adaptation: Adaptation) -> Parameters:
    """Return the parameters with statistics, if they have any, of the iteration's observations, too."""
    for episodes in adaptation.episodes:
        parameters = observe(parameters, episodes.observations[episodes.valid])
    return parameters
