"""One meta-iteration of a policy, from the tasks to the new meta-parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

from metarl.core.clock import Clock
from metarl.core.intervals import Interval, interval_over_tasks
from metarl.kept_channels import KeptChannels, kept_channels
from metarl.policies.gate import GATE
from metarl.policies.methods import STEP_SIZES, get_method
from metarl.policies.networks.network import Parameters
from metarl.policies.normalization import merged, observe
from metarl.rl.attention_log import attention_row
from metarl.rl.outer import OuterStep, outer_step
from metarl.rl.settings import TrainSettings
from metarl.rl.workers import TaskOutcome, Workers


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


def meta_iteration(
    parameters: Parameters,
    moments: Parameters,
    settings: TrainSettings,
    workers: Workers,
    generator: np.random.Generator,
    clock: Clock,
    movable: Parameters | None = None,
) -> tuple[Parameters, Parameters, IterationReport]:
    """Sample tasks, adapt to each, and take the outer step of the method.

    Args:
        parameters: The meta-parameters.
        moments: Adam's state.
        settings: The settings of the training.
        workers: What rolls the policies out, adapts them and keeps the episodes.
        generator: What tasks, episodes' seeds and noise are drawn from.
        clock: Takes the time of each phase.
        movable: By name, 1 where a number may move and 0 where it stays; None if all may.

    Returns:
        The new parameters, the new moments and a report. NumericalFault if a number is not finite, WorkerLost if a
        worker in another process ended.
    """
    network, method = workers.network, get_method(settings.method)
    tasks = workers.family.sample_tasks(settings.meta_batch_size, generator)
    outcomes = workers.adapt(parameters, tasks, generator, clock)
    step = outer_step(parameters, moments, settings, workers, clock, movable)
    first_tasks = [outcome.scores for outcome in outcomes if outcome.scores]
    scores = list(zip(*first_tasks, strict=True))
    report = IterationReport(
        returns=tuple(interval_over_tasks(returns) for returns in by_step([each.returns for each in outcomes])),
        successes=success_intervals(by_step([each.successes for each in outcomes])),
        step=step,
        spread={network.spread_name: mean_spread([each.spread for each in outcomes])},
        step_sizes=dict(zip(network.layer_names, parameters[STEP_SIZES].mT.tolist(), strict=True)),
        kept=kept_channels(method, network.layer_names, scores),
        attention=attention_row(scores, step.attention),
        gate=parameters[GATE].tolist() if GATE in parameters else [],
        steps=sum(each.steps for each in outcomes),
    )
    return observe_all(step.parameters, outcomes), step.moments, report


def by_step(values: Sequence[tuple[float, ...]]) -> Tensor:
    """Return numbers of each task after 0, 1, ... K inner steps as float64 [inner step, task]."""
    return torch.tensor(values, dtype=torch.float64).mT.contiguous()


def mean_spread(spreads: Sequence[float]) -> float:
    """Return the mean over tasks; of a spread that is the same for all, that number without a rounding."""
    return spreads[0] if len(set(spreads)) == 1 else fmean(spreads)


def observe_all(parameters: Parameters, outcomes: Sequence[TaskOutcome]) -> Parameters:
    """Return the parameters with statistics, if they have any, of the iteration's observations, too."""
    for of_step in zip(*(outcome.seen for outcome in outcomes), strict=True):
        parameters = observe(parameters, merged(of_step))
    return parameters
