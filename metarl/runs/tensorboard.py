"""TensorBoard events, written as each iteration ends.

TensorBoard's own writer does so in a thread, where an error such as a full disk is printed with its traceback.
"""

from __future__ import annotations

import math
import os
import socket
import time
import warnings
from contextlib import suppress
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from metarl.runs.callbacks import Callback
from metarl.runs.state import Step, TrainingState
from metarl.runs.training import Training


class TensorBoard(Callback):
    """Writes the scalars and timings of every iteration as TensorBoard events into a folder.

    Events that cannot be written are told once, and training goes on without.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.writer: RecordWriter | None = None

    def on_start(self, training: Training, state: TrainingState) -> None:
        """Open the events' file; TensorBoard then hides what an interrupted run wrote after ``state``."""
        name = f"events.out.tfevents.{time.time():010.0f}.{socket.gethostname()}.{os.getpid()}.0"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.writer = RecordWriter((self.folder / name).open("ab"))
        except OSError as error:
            self.give_up(error)
        self.write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        if state.iteration:
            restart = SessionLog(status=SessionLog.START)
            self.write(Event(wall_time=time.time(), step=state.iteration + 1, session_log=restart))

    def on_iteration(self, step: Step) -> None:
        """Write what the iteration's rows of the logs hold."""
        values = [
            Summary.Value(tag=name, simple_value=value)
            for name, value in (step.scalars | step.timings).items()
            if name != "iteration" and not math.isnan(value)
        ]
        self.write(Event(wall_time=time.time(), step=step.state.iteration, summary=Summary(value=values)))

    def on_end(self, state: TrainingState) -> None:
        """Close the file."""
        if self.writer is not None:
            self.writer.close()

    def write(self, event: Event) -> None:
        """Append an event, so that a viewer sees it at once."""
        if self.writer is None:
            return
        try:
            self.writer.write(event.SerializeToString())
            self.writer.flush()
        except OSError as error:
            self.give_up(error)

    def give_up(self, error: OSError) -> None:
        """Warn, and write no more."""
        if self.writer is not None:
            with suppress(OSError):
                self.writer.close()
        self.writer = None
        warnings.warn(f"no TensorBoard events in {self.folder}: {error.strerror or error}", stacklevel=2)
