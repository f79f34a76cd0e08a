"""A meta-training that lives in a folder: logged, checkpointed, resumable."""

from __future__ import annotations

import os
import platform
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from metarl import run_folder
from metarl.checkpoint import Checkpoint, newest_checkpoint, write_checkpoint
from metarl.envs.family import TaskFamily
from metarl.meta_training import Step, TrainingState, build_network, initial_state, meta_train
from metarl.policies.controller import Controller, save
from metarl.settings import TrainSettings

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


def start_run(
    folder: Path, family: TaskFamily, name: str, settings: TrainSettings, checkpoints: CheckpointSettings, hooks: Hooks
) -> Controller:
    """A new run in a folder that is empty or not there yet; ``name`` is what finds the family again."""
    run_folder.create(folder, name, settings)
    with exclusive(folder):
        state = initial_state(build_network(family, settings), settings)
        return _go_on(folder, family, settings, state, checkpoints, hooks)


def resume_run(
    folder: Path, family: TaskFamily, settings: TrainSettings, checkpoints: CheckpointSettings, hooks: Hooks
) -> Controller:
    """Goes on from the newest checkpoint that is whole, or from the start if there is none yet."""
    with exclusive(folder):
        checkpoint = newest_checkpoint(folder, family.name, settings.method)
        beginning = initial_state(build_network(family, settings), settings)
        state = checkpoint.state if checkpoint else beginning
        run_folder.cut_logs(folder, checkpoint.log_bytes if checkpoint else {})
        return _go_on(folder, family, settings, state, checkpoints, hooks)


def _go_on(
    folder: Path,
    family: TaskFamily,
    settings: TrainSettings,
    state: TrainingState,
    checkpoints: CheckpointSettings,
    hooks: Hooks,
) -> Controller:
    """Whatever ends it, the folder then has a checkpoint of the last whole iteration and the best controller."""
    columns = run_folder.progress_columns(settings, build_network(family, settings).layer_names)
    log = run_folder.RunLog(folder, columns, state.iteration)
    saved_iteration, saved_time = state.iteration, time.monotonic()
    try:
        for step in meta_train(family, settings, state, hooks.on_phase):
            log.append(step)
            state = step.state
            minutes = (time.monotonic() - saved_time) / 60
            iterations = state.iteration - saved_iteration
            if iterations >= checkpoints.checkpoint_iterations or minutes >= checkpoints.checkpoint_minutes:
                _try_to_keep(folder, family, settings, state, log)
                saved_iteration, saved_time = state.iteration, time.monotonic()
            hooks.on_iteration(step)
    finally:
        log.close()
        controller = _keep(folder, family, settings, state, log)
    return controller


def _try_to_keep(
    folder: Path, family: TaskFamily, settings: TrainSettings, state: TrainingState, log: run_folder.RunLog
) -> None:
    """A checkpoint that cannot be written is no reason to stop: the one before it stays, and the next may succeed."""
    try:
        _keep(folder, family, settings, state, log)
    except ValueError as error:
        warnings.warn(f"{error}; training goes on", stacklevel=2)


def _keep(
    folder: Path, family: TaskFamily, settings: TrainSettings, state: TrainingState, log: run_folder.RunLog
) -> Controller:
    if state.iteration:
        write_checkpoint(folder, Checkpoint(family.name, settings.method, state, log.lengths()))
    controller = run_folder.best_controller(family, settings, state)
    save(controller, folder / run_folder.CONTROLLER, overwrite=True)
    return controller


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
