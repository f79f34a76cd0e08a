"""Meta-training of a policy, as a sequence of states; files, signals and screens are handled elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from gymnasium import Env
from gymnasium.wrappers import TimeLimit

from metarl.core.clock import Clock
from metarl.core.errors import NumericalFault
from metarl.core.randomness import Purpose, generator
from metarl.core.threads import single_threaded_torch
from metarl.core.version import __version__
from metarl.envs.family import TaskFamily
from metarl.envs.observe_task import observe_task
from metarl.policies.controller import Controller
from metarl.policies.files.metadata import ControllerMetadata, FieldRecord
from metarl.policies.gate import is_measured, measure_returns
from metarl.policies.loading import Sb3Files
from metarl.policies.methods import get_method
from metarl.policies.networks.network import Parameters
from metarl.rl.dealt import DealtWorkers, ShareHolder
from metarl.rl.iteration import IterationReport, meta_iteration
from metarl.rl.logs import bytes_row, progress_columns, progress_row, timings_columns, timings_row
from metarl.rl.settings import TrainSettings
from metarl.rl.start import build_network, describe, initial_state, start_from, start_from_sb3, warn_of_clipping
from metarl.rl.workers import Workers, task_worker
from metarl.runs.folder import PROGRESS, TIMINGS
from metarl.runs.state import FAULTS_IN_A_ROW, Step, TrainingState, abandon
from metarl.workers.pool import Cluster, WorkerLost, check_losses, repeated

SELECTION_WINDOW = 10  # iterations whose mean return is the selection score of the newest


class PolicyTraining:
    """The meta-training of a policy on a task family, with the family and the network built once.

    The tasks of a meta-batch are in this process, or in the workers of a ``cluster``. That changes no number.
    """

    def __init__(
        self,
        family: TaskFamily,
        settings: TrainSettings,
        init: Controller | Sb3Files | None = None,
        cluster: Cluster | None = None,
    ) -> None:
        self.family, self.settings = as_method_sees(family, settings.horizon, settings.method), settings
        self.cluster = cluster
        if cluster is not None:
            cluster.check(settings.meta_batch_size, "a meta-batch")
        # A user's environments that cannot be used are refused here, before a run folder is made.
        self.family.make_simulator(1).close()
        self.network = build_network(self.family, settings)
        self.begun = initial_state(self.network, settings)
        if isinstance(init, Sb3Files):
            self.begun = start_from_sb3(init, self.begun, self.network, settings)
        elif init is not None:
            self.begun = start_from(init, self.begun, self.family, settings)
        self.trained_on = describe(self.family)
        self.columns = {
            PROGRESS: progress_columns(settings, self.network),
            TIMINGS: timings_columns(),
        }

    @property
    def family_name(self) -> str:
        """The name of the task family."""
        return self.family.name

    def initial_state(self) -> TrainingState:
        """Return the state before the first iteration."""
        return self.begun

    def iterations(
        self, state: TrainingState, on_phase: Callable[[], None] = lambda: None
    ) -> Generator[Step, None, None]:
        """Train from ``state`` to the last iteration and yield after each; closing the iterator frees the threads.

        An iteration that meets a number that is not finite (in an observation, a reward, an advantage, a gradient) is
        abandoned: the parameters stay, and the next iteration draws other tasks and episodes. NumericalFault after
        FAULTS_IN_A_ROW such iterations, for then it is the parameters or the simulator.
        """
        settings = self.settings
        if not state.iteration:
            warn_of_clipping(self.family, settings)
        with self.workers() as workers:
            if not is_measured(state.parameters):
                state = replace(state, parameters=self.with_measured_gate(state.parameters, workers))
            losses, before = 0, workers.bytes_moved()
            while state.iteration < settings.iterations:
                clock, report, fault = Clock(on_phase), None, ""
                random = generator(settings.seed, Purpose.TRAINING, state.iteration)
                try:
                    parameters, moments, report = meta_iteration(
                        state.parameters, state.moments, settings, workers, random, clock
                    )
                    state = advance(state, parameters, moments, report)
                except FloatingPointError as error:
                    state, fault = abandon(state), str(error)
                except WorkerLost as lost:
                    losses += 1
                    check_losses(lost, losses, f"iteration {state.iteration + 1}")
                    workers.restore()
                    continue  # with the same random numbers
                timings = timings_row(state, report, clock.seconds) | bytes_row(before, workers.bytes_moved())
                losses, before = 0, workers.bytes_moved()
                yield Step(state, progress_row(state, report), timings, fault)
                if state.faults_in_a_row >= FAULTS_IN_A_ROW:
                    raise NumericalFault(
                        f"{fault}; it was the {FAULTS_IN_A_ROW}th such iteration in a row, so training stops"
                    )

    @contextmanager
    def workers(self) -> Iterator[Workers]:
        """Yield what holds the tasks."""
        family, settings = self.family, self.settings
        if self.cluster is None:
            with task_worker(family, self.network, settings) as worker:
                yield worker
        else:
            holder = partial(ShareHolder, family, settings)
            with single_threaded_torch(), self.cluster.pool(holder, settings.threads, settings.meta_batch_size) as pool:
                yield DealtWorkers(family, self.network, pool)

    def with_measured_gate(self, parameters: Parameters, workers: Workers) -> Parameters:
        """Return the parameters with the return gate's statistics, measured on a meta-batch of tasks."""

        def attempt() -> list[float]:
            random = generator(self.settings.seed, Purpose.GATE)
            tasks = self.family.sample_tasks(self.settings.meta_batch_size, random)
            return workers.returns(parameters, tasks, random)

        returns = repeated(attempt, workers.restore, "measuring the gate's returns")
        return measure_returns(parameters, torch.tensor(returns, dtype=torch.float64))

    def controller(self, state: TrainingState) -> Controller:
        """Return the controller of the best iteration so far, with a record of its training."""
        family, settings = self.family, self.settings
        action_low, action_high = family.action_bounds
        record = {
            "seed": settings.seed,
            "iterations": state.iteration,
            "best_iteration": state.best_iteration,
            "best_return": state.best_score,
            "settings": asdict(replace(settings, threads=1)),
            "metarl": __version__,
        }
        metadata = ControllerMetadata(
            method=settings.method,
            family=family.name,
            task_fields=tuple(FieldRecord(**asdict(field)) for field in family.fields),
            horizon=family.horizon,
            observation_low=tuple(family.observation_space.low.tolist()),
            observation_high=tuple(family.observation_space.high.tolist()),
            action_low=tuple(action_low.tolist()),
            action_high=tuple(action_high.tolist()),
            action_scale=settings.action_scale,
            inner_steps=settings.inner_steps,
            episodes_per_step=settings.episodes_per_task,
            discount=settings.discount,
            gae_lambda=settings.gae_lambda,
            baseline=settings.baseline,
            training=record,
        )
        parameters = {name: tensor.detach().clone() for name, tensor in state.best_parameters.items()}
        return Controller(parameters, self.network, metadata)

    def save(self, state: TrainingState, path: Path) -> None:
        """Write the controller of the best iteration so far; an older file is replaced."""
        self.controller(state).save(path, overwrite=True)


def advance(
    state: TrainingState, parameters: Parameters, moments: Parameters, report: IterationReport
) -> TrainingState:
    """Return the state one iteration on.

    The reported return was reached by the parameters before the outer step. One iteration may draw easy tasks, so the
    best parameters are selected by the mean return of a window of iterations.

    Args:
        state: The state before the iteration.
        parameters: The parameters after its outer step.
        moments: Adam's moments after it.
        report: What the iteration measured.

    Returns:
        The new state, with the old parameters as the best if their selection score is.
    """
    iteration = state.iteration + 1
    recent = (*state.recent_returns, report.returns[-1].mean)[-SELECTION_WINDOW:]
    score = selection_score(recent)
    if score > state.best_score:
        state = replace(state, best_parameters=state.parameters, best_score=score, best_iteration=iteration)
    return replace(
        state,
        iteration=iteration,
        recent_returns=recent,
        parameters=parameters,
        moments=moments,
        skipped=state.skipped + (not report.step.accepted),
        faults_in_a_row=0,
    )


def selection_score(returns: Sequence[float]) -> float:
    """Return what the newest of these iterations is selected by: the mean return of up to SELECTION_WINDOW."""
    return fmean(returns[-SELECTION_WINDOW:])


def selection_scores(returns: Sequence[float]) -> list[float]:
    """Return the selection score of each iteration."""
    return [selection_score(returns[:end]) for end in range(1, len(returns) + 1)]


def as_method_sees(family: TaskFamily, horizon: int | None, method: str) -> TaskFamily:
    """Return the family at a horizon, its own if None, whose observations tell the task if the method asks for it."""
    family = with_horizon(family, horizon)
    return observe_task(family) if get_method(method).observes_task else family


def with_horizon(family: TaskFamily, horizon: int | None) -> TaskFamily:
    """Return the family with another horizon, also of its environments, or unchanged if that is None."""
    if horizon is None or horizon == family.horizon:
        return family

    def make_env(**kwargs: Any) -> Env[Any, Any]:
        env = family.make_env(**kwargs)
        # The outermost limit is the family's; one that the environment has itself stays.
        return TimeLimit(env.env if isinstance(env, TimeLimit) else env, horizon)

    return replace(family, horizon=horizon, make_env=make_env)
