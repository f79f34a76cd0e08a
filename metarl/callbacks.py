"""What may watch a training: show its progress, stop at a score, evaluate now and then, log to other programs.

    metarl.train("navigation-2d", callbacks=[Progress(), StopOnScore(-20), Log(JSONOutputFormat("progress.json"))])

A callback of your own overrides the methods of ``Callback`` that it needs.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from types import ModuleType
from typing import TYPE_CHECKING, Any

from rich.console import Console

from metarl.core.errors import Refusal
from metarl.core.threads import available_threads
from metarl.rl.evaluation import Evaluation, evaluate_tasks, unseen_tasks
from metarl.rl.training import PolicyTraining
from metarl.runs.callbacks import Callback
from metarl.runs.progress import live_progress
from metarl.runs.state import Row, Step, TrainingState
from metarl.runs.tensorboard import TensorBoard
from metarl.runs.training import Training

if TYPE_CHECKING:
    from stable_baselines3.common.logger import KVWriter

__all__ = ["Callback", "Evaluate", "Log", "MLflow", "Progress", "StopOnScore", "TensorBoard", "WeightsAndBiases"]


class Progress(Callback):
    """Shows how far a training is, the time left and the best score, in a terminal, a notebook or a file.

    Args:
        console: Where to show it; the standard output if left out.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self.display = ExitStack()

    def on_start(self, training: Training, state: TrainingState) -> None:
        """Begin to show."""
        iterations = training.settings.iterations
        self.show = self.display.enter_context(live_progress(self.console, iterations, "meta-iterations"))

    def on_iteration(self, step: Step) -> None:
        """Show the iteration."""
        score = step.state.best_score
        text = f"skipped: {step.fault}" if step.fault else f"best score {score:.4g}" if math.isfinite(score) else ""
        self.show(step.state.iteration, text)

    def on_end(self, state: TrainingState) -> None:
        """Leave the last line."""
        self.display.close()


class StopOnScore(Callback):
    """Stops the training as soon as its best score is good enough.

    The score is the one that selects the controller: the mean return after adaptation over up to ten iterations, or
    the accuracy on the validation tasks.
    """

    def __init__(self, score: float) -> None:
        self.score = score

    def on_iteration(self, step: Step) -> bool:
        """Return False if the score is reached."""
        return step.state.best_score < self.score


class Evaluate(Callback):
    """Evaluates the best controller so far on unseen tasks, again and again.

    Args:
        every: Iterations from one evaluation to the next.
        tasks: Unseen tasks, the same each time.
        seed: Seed of the tasks and of their episodes.
        on_evaluation: Is called with the iteration and the evaluation; ``evaluations`` keeps them all.
    """

    def __init__(
        self,
        every: int = 50,
        tasks: int = 40,
        seed: int = 1,
        on_evaluation: Callable[[int, Evaluation], None] = lambda iteration, evaluation: None,
    ) -> None:
        if every < 1 or tasks < 1:
            raise Refusal(f"every and tasks must be at least 1, got {every} and {tasks}")
        self.every, self.tasks, self.seed, self.on_evaluation = every, tasks, seed, on_evaluation
        self.evaluations: dict[int, Evaluation] = {}

    def on_start(self, training: Training, state: TrainingState) -> None:
        """Keep the training; Refusal if it is not one of a policy."""
        if not isinstance(training, PolicyTraining):
            raise Refusal("Evaluate is for policies: the training on images has a validation of its own")
        self.training = training

    def on_iteration(self, step: Step) -> None:
        """Evaluate if it is time."""
        if step.state.iteration % self.every:
            return
        controller, family = self.training.controller(step.state), self.training.family
        tasks = unseen_tasks(family, self.tasks, self.seed)
        evaluation = evaluate_tasks(controller, family, tasks, self.seed, available_threads())
        self.evaluations[step.state.iteration] = evaluation
        self.on_evaluation(step.state.iteration, evaluation)


class Log(Callback):
    """Writes every iteration to output formats of Stable-Baselines3's logger.

    These are JSONOutputFormat, CSVOutputFormat, HumanOutputFormat and TensorBoardOutputFormat of
    ``stable_baselines3.common.logger``, or a KVWriter of your own.
    """

    def __init__(self, *formats: KVWriter) -> None:
        self.formats = formats

    def on_iteration(self, step: Step) -> None:
        """Write the iteration's scalars and timings."""
        values = finite(step)
        for each in self.formats:
            each.write(values, dict.fromkeys(values, ()), step.state.iteration)

    def on_end(self, state: TrainingState) -> None:
        """Close the formats."""
        for each in self.formats:
            each.close()


class WeightsAndBiases(Callback):
    """Logs a training to Weights & Biases; the package wandb must be installed.

    Args:
        **run: What ``wandb.init`` takes, e.g. ``project="robots", name="first", mode="offline"``.
    """

    def __init__(self, **run: Any) -> None:
        self.wandb, self.run_options = installed("wandb"), run

    def on_start(self, training: Training, state: TrainingState) -> None:
        """Begin a run with the settings as its configuration."""
        self.run = self.wandb.init(config=described(training), **self.run_options)

    def on_iteration(self, step: Step) -> None:
        """Log the iteration's scalars and timings."""
        self.run.log(finite(step), step=step.state.iteration)

    def on_end(self, state: TrainingState) -> None:
        """End the run."""
        self.run.finish()


class MLflow(Callback):
    """Logs a training to MLflow; the package mlflow must be installed.

    Args:
        tracking_uri: Where MLflow keeps its runs, its own default if left out.
        **run: What ``mlflow.start_run`` takes, e.g. ``run_name="first"``.
    """

    def __init__(self, tracking_uri: str | None = None, **run: Any) -> None:
        self.mlflow, self.tracking_uri, self.run_options = installed("mlflow"), tracking_uri, run

    def on_start(self, training: Training, state: TrainingState) -> None:
        """Begin a run with the settings as its parameters."""
        if self.tracking_uri is not None:
            self.mlflow.set_tracking_uri(self.tracking_uri)
        self.mlflow.start_run(**self.run_options)
        self.mlflow.log_params(described(training))

    def on_iteration(self, step: Step) -> None:
        """Log the iteration's scalars and timings."""
        self.mlflow.log_metrics(finite(step), step=step.state.iteration)

    def on_end(self, state: TrainingState) -> None:
        """End the run."""
        self.mlflow.end_run()


def finite(step: Step) -> Row:
    """Return the scalars and timings of an iteration that are numbers, by name."""
    values = step.scalars | step.timings
    return {name: value for name, value in values.items() if name != "iteration" and math.isfinite(value)}


def described(training: Training) -> dict[str, Any]:
    """Return the settings of a training, with the name of its family."""
    return {"family": training.family_name, **asdict(training.settings)}


def installed(package: str) -> ModuleType:
    """Return a package that metarl does not require; Refusal says how to install it."""
    try:
        return importlib.import_module(package)
    except ImportError:
        raise Refusal(f"this callback needs {package}: pip install {package}") from None
