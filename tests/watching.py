"""Callbacks for tests: one keeps what a training yields, one ends it like a power cut."""

from __future__ import annotations

from metarl.runs.callbacks import Callback
from metarl.runs.state import Step


class Steps(Callback, list[Step]):
    """A list of every step."""

    def on_iteration(self, step: Step) -> None:
        self.append(step)


class Stop(Exception):
    """The power is gone."""


class StopAfter(Callback):
    """Raises Stop after an iteration."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def on_iteration(self, step: Step) -> None:
        if step.state.iteration == self.iteration:
            raise Stop
