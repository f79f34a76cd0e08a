"""``metarl train``: meta-trains a policy and says where everything is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from metarl import api, run_folder
from metarl.envs.family import TaskFamily
from metarl.envs.registry import FAMILIES
from metarl.experiments import plots
from metarl.experiments.families import family_by_name
from metarl.experiments.interrupts import Interrupted, interruptible
from metarl.experiments.parsing import parse
from metarl.experiments.progress import clock_time, live_progress, number, training_line
from metarl.meta_training import Step
from metarl.policies.controller import Controller
from metarl.policies.methods import METHODS
from metarl.randomness import Purpose, generator
from metarl.run import Hooks
from metarl.settings import TrainSettings, preset

LEARNING_CURVE = "learning_curve.png"


@dataclass(frozen=True)
class Train:
    """One command line."""

    family: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FAMILY")]
    """Task family: one of those above, or module:attribute for a TaskFamily of your own."""
    settings: Annotated[TrainSettings, tyro.conf.OmitArgPrefixes]
    """The settings, with the values that suit the task family."""
    out: Path | None = None
    """Run folder, which must be new; runs/FAMILY-METHOD-seedSEED if left out."""


def main(arguments: Sequence[str]) -> None:
    """Runs the command; ValueError says what is wrong with its arguments."""
    command = parse_train(arguments)
    family = family_by_name(command.family)
    settings = command.settings
    folder = command.out or Path("runs") / f"{family.name}-{settings.method}-seed{settings.seed}"
    console = Console(highlight=False)
    start = time.monotonic()
    controller = train_into(
        folder, family, settings, console, lambda hooks: api.train(family, settings=settings, out=folder, hooks=hooks)
    )
    console.print(summary(controller, family, folder, time.monotonic() - start), soft_wrap=True)


def parse_train(arguments: Sequence[str]) -> Train:
    """Parsed twice: the family is known only then, and with it the settings that are the defaults."""
    named = next((word for word in arguments if word in FAMILIES), "FAMILY")
    description = (
        "Meta-train a policy on a task family and keep its best controller.\n\n"
        f"Task families: {', '.join(FAMILIES)}.\nMethods: {', '.join(METHODS)}.\n\n"
        f"The defaults are those of {named}; metarl train FAMILY --help shows a family's."
    )

    def parsed(settings: TrainSettings) -> Train:
        default = Train(family=tyro.MISSING, settings=settings)
        return parse(Train, arguments, "metarl train", default, description)

    return parsed(preset(family_by_name(parsed(preset(named)).family).name))


def train_into(
    folder: Path, family: TaskFamily, settings: TrainSettings, console: Console, run: Callable[[Hooks], Controller]
) -> Controller:
    """Calls ``run`` with a progress line, and leaves the folder with its plot whatever ends the training.

    An ``Interrupted`` that comes out says where the controller is.
    """
    done = 0
    with interruptible() as check, live_progress(console, settings.iterations, "meta-iterations") as show:

        def on_iteration(step: Step) -> None:
            nonlocal done
            done = step.state.iteration
            show(done, training_line(step))

        try:
            return run(Hooks(on_iteration=on_iteration, on_phase=check))
        except Interrupted as interrupted:
            what = f"the best controller of {done} meta-iterations" if done else "the untrained controller"
            message = f"interrupted; {what} is in {folder / run_folder.CONTROLLER}"
            raise Interrupted(interrupted.number, message) from None
        finally:
            # A folder that was refused is another run's.
            if done:
                plot_learning_curve(folder, family, settings)


def plot_learning_curve(folder: Path, family: TaskFamily, settings: TrainSettings) -> None:
    """Draws ``progress.csv``."""
    progress = plots.read_progress(folder / run_folder.PROGRESS)
    figure = plots.learning_curve(progress, f"{family.name}, {settings.method}", settings.max_kl)
    plots.write(figure, folder / LEARNING_CURVE)


def summary(controller: Controller, family: TaskFamily, folder: Path, seconds: float) -> str:
    """What came out, where it is, and what to type next."""
    training = controller.metadata.training
    path = folder / run_folder.CONTROLLER
    task = example_task(family)
    files = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    return (
        f"Meta-trained in {clock_time(seconds)}; best in iteration {training['best_iteration']}: return "
        f"{number(training['best_return'])} after adaptation.\n"
        f"In {folder}: {', '.join(files)}\n\n"
        "Next:\n"
        f"  metarl evaluate {path}\n"
        f"  metarl adapt {path} --task {task}\n"
        f"  metarl render {path} --task {task} --out episode.gif\n"
        f"  tensorboard --logdir {folder}"
    )


def example_task(family: TaskFamily) -> str:
    """A task as one types it."""
    task = family.task_dict(family.sample_tasks(1, generator(0, Purpose.EVALUATION))[0])
    return " ".join(f"{name}={value:.2f}" for name, value in task.items())
