"""A meta-training that lives in a folder: logged, checkpointed, resumable."""

from __future__ import annotations

import os
import platform
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from filelock import FileLock, Timeout

from metarl.envs.family import TaskFamily
from metarl.policies.controller import Controller
from metarl.rl.settings import TrainSettings
from metarl.rl.training import Step, build_network, initial_state, meta_train
from metarl.runs import folder as run_folder
from metarl.runs.checkpoint import Checkpoint, newest_checkpoint, write_checkpoint
from metarl.runs.folder import Row
from metarl.runs.state import TrainingState

LOCK, HOLDER = ".lock", ".lock-holder"


@dataclass(frozen=True)
class CheckpointSettings:
    """How often a checkpoint is written: whichever of the two comes first."""

    checkpoint_iterations: int = 10
    """Iterations from one checkpoint to the next, at most."""
    checkpoint_minutes: float = 5.0
    """Minutes from one checkpoint to the next, at most (and an iteration more)."""

    def __post_init__(self) -> None:
        if self.checkpoint_iterations < 1 or not self.checkpoint_minutes > 0:
            raise ValueError(
                "checkpoints must be at least 1 iteration and more than 0 minutes apart, "
                f"got {self.checkpoint_iterations} and {self.checkpoint_minutes}"
            )


@dataclass(frozen=True)
class Hooks:
    """What watches a training. An exception that a hook raises ends it, and the run can be resumed."""

    on_iteration: Callable[[Step], None] = lambda step: None
    on_phase: Callable[[], None] = lambda: None  # called as each phase of an iteration begins


class SomeStep(Protocol):
    """What a meta-training yields after each iteration."""

    @property
    def state(self) -> TrainingState: ...


AnyStep = TypeVar("AnyStep", bound=SomeStep)
Kept = TypeVar("Kept")


@dataclass(frozen=True)
class Training(Generic[AnyStep, Kept]):
    """A meta-training of any kind, as a run folder sees it."""

    family: str
    method: str
    beginning: Callable[[], TrainingState]
    go_on: Callable[[TrainingState], Iterator[AnyStep]]  # from a state to the last iteration
    columns: Mapping[str, list[str]]  # of each log, by file
    rows: Callable[[AnyStep], Mapping[str, Row]]  # one for each log
    keep: Callable[[TrainingState], Kept]  # writes what the training is for: the best so far
    on_iteration: Callable[[AnyStep], None]


def start_run(
    folder: Path, family: TaskFamily, name: str, settings: TrainSettings, checkpoints: CheckpointSettings, hooks: Hooks
) -> Controller:
    """A new run in a folder that is empty or not there yet; ``name`` is what finds the family again."""
    run_folder.create(folder, name, settings)
    return begin(folder, reinforcement_learning(folder, family, settings, hooks), checkpoints)


def resume_run(
    folder: Path, family: TaskFamily, settings: TrainSettings, checkpoints: CheckpointSettings, hooks: Hooks
) -> Controller:
    """Goes on from the newest checkpoint that is whole, or from the start if there is none yet."""
    return resume(folder, reinforcement_learning(folder, family, settings, hooks), checkpoints)


def reinforcement_learning(
    folder: Path, family: TaskFamily, settings: TrainSettings, hooks: Hooks
) -> Training[Step, Controller]:
    """Meta-training on a task family."""
    network = build_network(family, settings)

    def keep(state: TrainingState) -> Controller:
        controller = run_folder.best_controller(family, settings, state)
        controller.save(folder / run_folder.CONTROLLER, overwrite=True)
        return controller

    return Training(
        family=family.name,
        method=settings.method,
        beginning=lambda: initial_state(network, settings),
        go_on=lambda state: meta_train(family, settings, state, hooks.on_phase),
        columns={
            run_folder.PROGRESS: run_folder.progress_columns(settings, network.layer_names),
            run_folder.TIMINGS: run_folder.timings_columns(),
        },
        rows=lambda step: {
            run_folder.PROGRESS: run_folder.progress_row(step),
            run_folder.TIMINGS: run_folder.timings_row(step),
        },
        keep=keep,
        on_iteration=hooks.on_iteration,
    )


def begin(folder: Path, training: Training[AnyStep, Kept], checkpoints: CheckpointSettings) -> Kept:
    """The whole training, in a folder that ``run_folder.create`` has made."""
    with exclusive(folder):
        return _go_on(folder, training, training.beginning(), checkpoints)


def resume(folder: Path, training: Training[AnyStep, Kept], checkpoints: CheckpointSettings) -> Kept:
    """The rest of the training, from the newest checkpoint that is whole, or from the start if there is none yet."""
    with exclusive(folder):
        checkpoint = newest_checkpoint(folder, training.family, training.method)
        state = checkpoint.state if checkpoint else training.beginning()
        run_folder.cut_logs(folder, checkpoint.log_bytes if checkpoint else {})
        return _go_on(folder, training, state, checkpoints)


def _go_on(
    folder: Path, training: Training[AnyStep, Kept], state: TrainingState, checkpoints: CheckpointSettings
) -> Kept:
    """Whatever ends it, the folder then has a checkpoint of the last whole iteration and the best so far."""
    log = run_folder.RunLog(folder, training.columns, state.iteration)
    saved_iteration, saved_time = state.iteration, time.monotonic()
    try:
        for step in training.go_on(state):
            log.append(step.state.iteration, training.rows(step))
            state = step.state
            minutes = (time.monotonic() - saved_time) / 60
            iterations = state.iteration - saved_iteration
            if iterations >= checkpoints.checkpoint_iterations or minutes >= checkpoints.checkpoint_minutes:
                _try_to_keep(folder, training, state, log)
                saved_iteration, saved_time = state.iteration, time.monotonic()
            training.on_iteration(step)
    finally:
        log.close()
        kept = _keep(folder, training, state, log)
    return kept


def _try_to_keep(folder: Path, training: Training[AnyStep, Kept], state: TrainingState, log: run_folder.RunLog) -> None:
    """A checkpoint that cannot be written is no reason to stop: the one before it stays, and the next may succeed."""
    try:
        _keep(folder, training, state, log)
    except ValueError as error:
        warnings.warn(f"{error}; training goes on", stacklevel=2)


def _keep(folder: Path, training: Training[AnyStep, Kept], state: TrainingState, log: run_folder.RunLog) -> Kept:
    if state.iteration:
        write_checkpoint(folder, Checkpoint(training.family, training.method, state, log.lengths()))
    return training.keep(state)


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Keeps every other process from training in the folder; ValueError says who does so already."""
    lock = FileLock(folder / LOCK)
    holder = folder / HOLDER
    try:
        lock.acquire(timeout=0)
    except Timeout:
        who = holder.read_text() if holder.is_file() else "another process"
        raise ValueError(f"{folder} is in use: {who} trains in it") from None
    except OSError as error:
        raise ValueError(f"cannot write to {folder}: {error.strerror or error}") from None
    try:
        holder.write_text(f"process {os.getpid()} on {platform.node()}, since {time.ctime()},")
        yield
    finally:
        lock.release()
