"""The interface of what watches a training."""

from __future__ import annotations

from metarl.runs.state import Step, TrainingState
from metarl.runs.training import Training


class Callback:
    """Watches a training: override what you need.

    An exception that a callback raises ends the training; what is done by then is saved and can be resumed.
    """

    def on_start(self, training: Training, state: TrainingState) -> None:
        """Learn which training begins, or goes on from ``state``."""

    def on_phase(self) -> None:
        """Do something as each phase of an iteration begins: sampling, the inner loop, the meta-gradient, ..."""

    def on_iteration(self, step: Step) -> bool | None:
        """Look at an iteration; return False to stop the training after it."""

    def on_end(self, state: TrainingState) -> None:
        """Finish: called once after ``on_start``, whatever ended the training."""
