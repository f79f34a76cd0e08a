"""A training on the terminal: a line for each iteration, signals that stop it, and at the end what to type next."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rich.console import Console

from metarl.core.errors import NumericalFault
from metarl.core.user_code import UserCodeError
from metarl.experiments.console.interrupts import Interrupted, interruptible
from metarl.experiments.console.progress import clock_time
from metarl.experiments.console.suggestions import command_line
from metarl.runs.callbacks import Callback
from metarl.runs.folder import CONTROLLER
from metarl.runs.progress import live_progress
from metarl.runs.recorder import CheckpointSettings
from metarl.runs.run import DEFAULT_CHECKPOINTS, Untrained, run
from metarl.runs.state import Step, TrainingState
from metarl.runs.training import Training


class View(Protocol):
    """What is shown of one kind of training."""

    def line(self, step: Step) -> str:
        """Return what an iteration did."""
        ...

    def best(self, state: TrainingState) -> str:
        """Return what a run that goes on from ``state`` has trained so far, e.g. "the controller of iteration 3"."""
        ...

    def result(self, state: TrainingState) -> str:
        """Return how good the best is, e.g. "best in iteration 3: return -7"."""
        ...

    def suggestions(self, path: Path) -> Sequence[str]:
        """Return commands to type next, given the trained file."""
        ...

    def plot(self, folder: Path) -> None:
        """Draw the learning curve of a run into its folder."""
        ...


@dataclass(frozen=True)
class Plan:
    """A training, where it runs, and how it is shown."""

    training: Training
    folder: Path
    view: View
    checkpoints: CheckpointSettings = DEFAULT_CHECKPOINTS
    resume: bool = False


class Display(Callback):
    """Shows each iteration in a line, and stops the training where a signal asks for it."""

    def __init__(self, view: View, show: Callable[[int, str], None], check: Callable[[], None]) -> None:
        self.view, self.show, self.check = view, show, check
        self.state: TrainingState | None = None

    def on_phase(self) -> None:
        """Stop here if a signal has arrived."""
        self.check()

    def on_iteration(self, step: Step) -> None:
        """Show the iteration."""
        self.state = step.state
        self.show(self.state.iteration, self.view.line(step))


def follow(plan: Plan, console: Console) -> TrainingState:
    """Train with a progress line, and leave the folder with its plot whatever ends the training.

    Args:
        plan: What is trained, and where.
        console: Where the progress is shown.

    Returns:
        The state after the last iteration. An Interrupted, UserCodeError or NumericalFault that comes out says where
        the trained file is.
    """
    with interruptible() as check, live_progress(console, plan.training.settings.iterations, "meta-iterations") as show:
        display = Display(plan.view, show, check)
        try:
            return run(plan.training, plan.folder, plan.checkpoints, [display], plan.resume)
        except Untrained:
            raise
        except Interrupted as interrupted:
            raise Interrupted(interrupted.number, f"interrupted; {saved(plan, display.state)}") from None
        except (UserCodeError, NumericalFault) as error:
            raise type(error)(f"{error}; {saved(plan, display.state)}") from error
        finally:
            if display.state and display.state.faults_in_a_row < display.state.iteration:
                try:
                    plan.view.plot(plan.folder)
                except ValueError as error:  # a picture less must not hide what ended the training
                    warnings.warn(str(error), stacklevel=2)


def saved(plan: Plan, state: TrainingState | None) -> str:
    """Return what a training has left that did not reach its end; ``state`` is None if it did nothing."""
    again = f"{command_line('train', '--resume', plan.folder)} goes on"
    if state is None:
        return again if plan.resume else "nothing was trained yet"
    if state.iteration == state.faults_in_a_row:
        return f"no iteration succeeded; the controller is untrained; {again}"
    return f"{plan.view.best(state)} is in {plan.folder / CONTROLLER}; {again}"


def summary(plan: Plan, state: TrainingState, seconds: float) -> str:
    """Return what came out, where it is, and what to type next."""
    files = sorted(entry.name for entry in plan.folder.iterdir() if not entry.name.startswith("."))
    commands = "\n".join(f"  {command}" for command in plan.view.suggestions(plan.folder / CONTROLLER))
    return (
        f"Meta-trained in {clock_time(seconds)}; {plan.view.result(state)}.\n"
        f"In {plan.folder}: {', '.join(files)}\n\nNext:\n{commands}"
    )
