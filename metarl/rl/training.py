"""The meta-training loop as a sequence of states; files, signals and screens are other modules' business."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from statistics import fmean

import torch

from metarl.adam import initial_moments
from metarl.core.clock import Clock
from metarl.core.randomness import Purpose, generator
from metarl.core.threads import single_threaded_torch
from metarl.envs.family import TaskFamily
from metarl.policies.methods import get_method, initial_meta_parameters
from metarl.policies.networks.mlp import GaussianMLP
from metarl.policies.networks.network import Parameters
from metarl.rl.iteration import IterationReport, meta_iteration, outer_names
from metarl.rl.sampling import Sampler
from metarl.rl.settings import TrainSettings
from metarl.runs.state import FAULTS_IN_A_ROW, TrainingState, abandon

JUDGED_ON = 10  # iterations whose mean return says how good the newest of them is


@dataclass(frozen=True)
class Step:
    """What the loop yields: the state after an iteration, and what happened in it.

    ``report`` is None if the iteration was abandoned for a numerical fault, which ``fault`` then tells.
    """

    state: TrainingState
    report: IterationReport | None
    seconds: dict[str, float]
    fault: str = ""


def build_network(family: TaskFamily, settings: TrainSettings) -> GaussianMLP:
    """The policy network for a family's spaces."""
    (observation_size,), (action_size,) = family.observation_space.shape, family.action_space.shape
    return GaussianMLP(observation_size, settings.hidden_sizes, action_size, settings.initial_std)


def initial_state(network: GaussianMLP, settings: TrainSettings) -> TrainingState:
    """The state before the first iteration."""
    seed = int(generator(settings.seed, Purpose.PARAMETERS).integers(2**31))
    random = torch.Generator().manual_seed(seed)
    parameters = network.initial_parameters(random) | initial_meta_parameters(
        get_method(settings.method), network.layers, settings.inner_steps, settings.step_size, random
    )
    _, attention = outer_names(get_method(settings.method), parameters)
    moments = initial_moments({name: parameters[name] for name in attention})
    return TrainingState(0, parameters, moments, parameters, -math.inf, 0)


def meta_train(
    family: TaskFamily,
    settings: TrainSettings,
    state: TrainingState,
    on_phase: Callable[[], None] = lambda: None,
) -> Iterator[Step]:
    """Goes on from ``state`` to the last iteration, yielding after each. Closing the iterator frees the threads.

    An iteration that meets a number that is not finite (in an observation, a reward, an advantage, a gradient) is
    abandoned: the parameters stay, and the next iteration draws other tasks and episodes. FloatingPointError after
    FAULTS_IN_A_ROW such iterations, for then it is the parameters or the simulator.
    """
    family = with_horizon(family, settings.horizon)
    network = build_network(family, settings)
    with (
        single_threaded_torch(),
        Sampler(family, network, settings.action_scale, settings.threads) as sampler,
        ThreadPoolExecutor(settings.threads, thread_name_prefix="outer") as executor,
    ):
        while state.iteration < settings.iterations:
            clock = Clock(on_phase)
            random = generator(settings.seed, Purpose.TRAINING, state.iteration)
            try:
                parameters, moments, report = meta_iteration(
                    state.parameters, state.moments, settings, sampler, executor, random, clock
                )
            except FloatingPointError as error:
                state = abandon(state)
                yield Step(state, None, clock.seconds, str(error))
                if state.faults_in_a_row >= FAULTS_IN_A_ROW:
                    raise FloatingPointError(
                        f"{error}; it was the {FAULTS_IN_A_ROW}th such iteration in a row, so training stops"
                    ) from None
                continue
            state = advance(state, parameters, moments, report)
            yield Step(state, report, clock.seconds)


def advance(
    state: TrainingState, parameters: Parameters, moments: Parameters, report: IterationReport
) -> TrainingState:
    """The state one iteration on. The reported return was reached by the parameters before the outer step.

    An iteration's tasks may be easy ones: its return alone would keep a lucky iterate rather than a good one.
    """
    iteration = state.iteration + 1
    recent = (*state.recent_returns, report.returns[-1].mean)[-JUDGED_ON:]
    score = judged_return(recent)
    if score > state.best_score:
        state = replace(state, best_parameters=state.parameters, best_score=score, best_iteration=iteration)
    return replace(
        state,
        iteration=iteration,
        recent_returns=recent,
        parameters=parameters,
        moments=moments,
        skipped=state.skipped + (not report.search.accepted),
        faults_in_a_row=0,
    )


def judged_return(returns: Sequence[float]) -> float:
    """By what the newest of these iterations is judged: the mean return of up to JUDGED_ON."""
    return fmean(returns[-JUDGED_ON:])


def judged_returns(returns: Sequence[float]) -> list[float]:
    """The same for each of the iterations."""
    return [judged_return(returns[:end]) for end in range(1, len(returns) + 1)]


def with_horizon(family: TaskFamily, horizon: int | None) -> TaskFamily:
    """The family with another horizon, or as it is."""
    return family if horizon is None else replace(family, horizon=horizon)
