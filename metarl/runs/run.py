"""Run a meta-training: watched by callbacks and, in a folder, logged, checkpointed and resumable."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from metarl.runs import folder as run_folder
from metarl.runs.callbacks import Callback
from metarl.runs.checkpoint import Checkpoint, newest_checkpoint, write_checkpoint
from metarl.runs.logs import RunLog, cut_logs
from metarl.runs.state import Step, TrainingState
from metarl.runs.training import Training


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


DEFAULT_CHECKPOINTS = CheckpointSettings()


def run(
    training: Training,
    folder: Path | None = None,
    checkpoints: CheckpointSettings = DEFAULT_CHECKPOINTS,
    callbacks: Sequence[Callback] = (),
    resume: bool = False,
) -> TrainingState:
    """Train to the last iteration, or until a callback stops it.

    Args:
        training: What is trained.
        folder: The run folder, None to keep nothing on disk. Whatever ends the training, the folder then has a
            checkpoint of the last whole iteration and the best so far.
        checkpoints: How often a checkpoint is written.
        callbacks: What watches the training.
        resume: Whether to go on from the newest checkpoint in ``folder`` instead of starting a new run there.

    Returns:
        The state after the last iteration. ValueError if the folder cannot be used.
    """
    with ExitStack() as stack:
        if folder is None:
            state = training.initial_state()
        else:
            recorder = stack.enter_context(recording(training, folder, checkpoints, resume))
            state, callbacks = recorder.state, (recorder, *callbacks)

        def end(callback: Callback) -> None:
            callback.on_end(state)

        def on_phase() -> None:
            for callback in callbacks:
                callback.on_phase()

        for callback in callbacks:
            stack.callback(end, callback)
            callback.on_start(training, state)
        for step in stack.enter_context(closing(training.iterations(state, on_phase))):
            state = step.state
            if False in [callback.on_iteration(step) for callback in callbacks]:
                break
    return state


@contextmanager
def recording(training: Training, folder: Path, checkpoints: CheckpointSettings, resume: bool) -> Iterator[RunRecorder]:
    """Yield what records the training in the folder, which no other process can use meanwhile."""
    if not resume:
        run_folder.create(folder, training.family_name, training.settings)
    with run_folder.exclusive(folder):
        checkpoint = newest_checkpoint(folder, training.family_name, training.settings.method) if resume else None
        cut_logs(folder, checkpoint.log_bytes if checkpoint else {})
        state = checkpoint.state if checkpoint else training.initial_state()
        yield RunRecorder(training, folder, checkpoints, state)


class RunRecorder(Callback):
    """Writes the logs of a run after each iteration, a checkpoint now and then, and the best so far with each."""

    def __init__(self, training: Training, folder: Path, checkpoints: CheckpointSettings, state: TrainingState) -> None:
        self.training, self.folder, self.checkpoints, self.state = training, folder, checkpoints, state
        self.log = RunLog(folder, training.columns, state.iteration)
        self.saved_iteration, self.saved_time = state.iteration, time.monotonic()

    def on_iteration(self, step: Step) -> None:
        self.log.append(step.state.iteration, {run_folder.PROGRESS: step.scalars, run_folder.TIMINGS: step.timings})
        self.state = step.state
        minutes = (time.monotonic() - self.saved_time) / 60
        iterations = self.state.iteration - self.saved_iteration
        if iterations >= self.checkpoints.checkpoint_iterations or minutes >= self.checkpoints.checkpoint_minutes:
            try:
                self.save()
            except ValueError as error:
                # The checkpoint before this one stays, and the next one may succeed.
                warnings.warn(f"{error}; training goes on", stacklevel=2)
            self.saved_iteration, self.saved_time = self.state.iteration, time.monotonic()

    def on_end(self, state: TrainingState) -> None:
        self.log.close()
        self.save()

    def save(self) -> None:
        """Write a checkpoint and the best so far; ValueError if they cannot be written."""
        if self.state.iteration:
            self.log.sync()
            family, method = self.training.family_name, self.training.settings.method
            write_checkpoint(self.folder, Checkpoint(family, method, self.state, self.log.lengths()))
        self.training.save(self.state, self.folder / run_folder.CONTROLLER)
