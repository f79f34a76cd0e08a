"""Run a meta-training: watched by callbacks and, in a folder, logged, checkpointed and resumable."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from metarl.core.errors import NumericalFault, Refusal
from metarl.runs.callbacks import Callback
from metarl.runs.folder import TENSORBOARD
from metarl.runs.recorder import CheckpointSettings, recording
from metarl.runs.state import TrainingState
from metarl.runs.tensorboard import TensorBoard
from metarl.runs.training import Training

DEFAULT_CHECKPOINTS = CheckpointSettings()


class Untrained(NumericalFault):
    """A training whose iterations all met a numerical fault."""


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
        The state after the last iteration. Refusal if the folder cannot be used, Untrained if all iterations met a
        numerical fault.
    """
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise Refusal(f"a callback must be an object of a class derived from Callback, got {callback!r}")
    with ExitStack() as stack:
        if folder is None:
            state = training.initial_state()
        else:
            recorder = stack.enter_context(recording(training, folder, checkpoints, resume))
            state, callbacks = recorder.state, (recorder, TensorBoard(folder / TENSORBOARD), *callbacks)

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
    if state.iteration == state.faults_in_a_row:
        raise Untrained("no iteration succeeded; the controller is untrained")
    return state
