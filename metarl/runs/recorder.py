"""What keeps a run's folder: its logs, its checkpoints, and the best so far."""

from __future__ import annotations

import shlex
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from metarl.core.atomic import CannotWrite, remove_stale
from metarl.core.errors import Refusal
from metarl.core.settings import AtLeastOne, Positive, check_settings
from metarl.runs import folder as run_folder
from metarl.runs.callbacks import Callback
from metarl.runs.checkpoint import Checkpoint, newest_checkpoint, write_checkpoint
from metarl.runs.logs import RunLog, cut_logs
from metarl.runs.state import Step, TrainingState
from metarl.runs.training import Training


@dataclass(frozen=True)
class CheckpointSettings:
    """How often a checkpoint is written: whichever of the two comes first."""

    checkpoint_iterations: AtLeastOne = 10
    """Iterations from one checkpoint to the next, at most."""
    checkpoint_minutes: Positive = 5.0
    """Minutes from one checkpoint to the next, at most (and an iteration more)."""

    def __post_init__(self) -> None:
        check_settings(self)


class RunRecorder(Callback):
    """Writes the logs after each iteration, and now and then a checkpoint and the best so far.

    ``logged`` holds the state after the last iteration that is in all logs, with their lengths: a signal may end the
    training anywhere, also between two logs.
    """

    def __init__(self, training: Training, folder: Path, checkpoints: CheckpointSettings, begun: Checkpoint) -> None:
        self.training, self.folder, self.checkpoints = training, folder, checkpoints
        self.log = RunLog(folder, training.columns)
        self.logged = begun.state, begun.log_bytes
        self.saved_iteration, self.saved_time = begun.state.iteration, time.monotonic()

    @property
    def state(self) -> TrainingState:
        """The state after the last iteration that is logged."""
        return self.logged[0]

    def on_iteration(self, step: Step) -> None:
        """Log the iteration, and save if it is time."""
        with self.tell_how_to_go_on():
            self.log.append(step)
        self.logged = step.state, self.log.lengths()
        minutes = (time.monotonic() - self.saved_time) / 60
        iterations = self.state.iteration - self.saved_iteration
        if iterations >= self.checkpoints.checkpoint_iterations or minutes >= self.checkpoints.checkpoint_minutes:
            try:
                self.save()
            except CannotWrite as error:
                # The checkpoint before this one stays, and the next one may succeed.
                warnings.warn(f"{error}; training goes on", stacklevel=2)
            self.saved_iteration, self.saved_time = self.state.iteration, time.monotonic()

    def on_end(self, state: TrainingState) -> None:
        """Take back what is half logged, and save."""
        cut_logs(self.folder, self.logged[1])
        with self.tell_how_to_go_on():
            self.save()

    @contextmanager
    def tell_how_to_go_on(self) -> Iterator[None]:
        """Add to a CannotWrite how to resume."""
        try:
            yield
        except CannotWrite as error:
            resume = f"metarl train --resume {shlex.quote(str(self.folder))}"
            raise CannotWrite(f"{error}; as soon as that is possible, {resume} goes on") from None

    def save(self) -> None:
        """Write a checkpoint and the best so far; CannotWrite if that is not possible."""
        state, log_bytes = self.logged
        self.log.sync()
        write_checkpoint(self.folder, Checkpoint(run_folder.digest(self.training), state, log_bytes))
        self.training.save(state, self.folder / run_folder.CONTROLLER)


@contextmanager
def recording(training: Training, folder: Path, checkpoints: CheckpointSettings, resume: bool) -> Iterator[RunRecorder]:
    """Yield what records a training in a folder, which no other process can use meanwhile.

    Args:
        training: What is trained.
        folder: The run folder.
        checkpoints: How often a checkpoint is written.
        resume: Whether to go on from the newest checkpoint instead of starting a new run.

    Yields:
        The recorder, at the state to go on from. Refusal says why the folder cannot be used.
    """
    recorders: list[RunRecorder] = []

    def is_worth_keeping() -> bool:
        return resume or bool(recorders and recorders[0].state.iteration)

    with run_folder.exclusive(folder) if resume else run_folder.new_folder(folder, is_worth_keeping):
        begun = checkpoint_to_resume(training, folder) if resume else first_checkpoint(training, folder)
        recorders.append(RunRecorder(training, folder, checkpoints, begun))
        cut_logs(folder, begun.log_bytes)
        run_folder.write_config(folder, training)
        yield recorders[0]


def first_checkpoint(training: Training, folder: Path) -> Checkpoint:
    """Write the checkpoint before the first iteration: a run that has none has lost it."""
    begun = Checkpoint(run_folder.digest(training), training.initial_state(), {})
    write_checkpoint(folder, begun)
    return begun


def checkpoint_to_resume(training: Training, folder: Path) -> Checkpoint:
    """Return the newest checkpoint of a run; Refusal if the run cannot go on.

    A run of a version that had fewer settings goes on with the others at their defaults, from a checkpoint that is
    written anew: it counts for the settings of today before they are written down.
    """
    run_folder.check_trained_on(folder, training)
    for place in (folder, folder / run_folder.CHECKPOINTS):
        remove_stale(place)
    known = run_folder.parse_config(folder, lambda content: set(content["settings"]))
    digest = run_folder.digest(training)
    begun = newest_checkpoint(folder, digest, run_folder.digest(training, known))
    if begun is None:
        raise Refusal(f"{folder} has no checkpoint any more: the run cannot go on, and its logs stay as they are")
    if begun.state.iteration > training.settings.iterations:
        done, wanted = begun.state.iteration, training.settings.iterations
        raise Refusal(f"{folder} has done {done} iterations, more than the {wanted} asked for")
    if begun.digest != digest:
        begun = replace(begun, digest=digest)
        write_checkpoint(folder, begun)
    return begun
