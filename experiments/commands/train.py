"""``metarl train``: meta-trains a policy and says where everything is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from metarl import api
from metarl.core.randomness import Purpose, generator
from metarl.envs.family import TaskFamily
from metarl.envs.registry import FAMILIES
from metarl.experiments.analysis.learning_curves import plot_learning_curve
from metarl.experiments.commands import train_images
from metarl.experiments.console.families import family_by_name
from metarl.experiments.console.interrupts import Interrupted, interruptible
from metarl.experiments.console.parsing import parse
from metarl.experiments.console.progress import clock_time, join, live_progress, number
from metarl.images.run import is_image_run
from metarl.policies.controller import Controller
from metarl.policies.loading import load_controller
from metarl.policies.methods import METHODS
from metarl.rl.settings import TrainSettings, preset
from metarl.rl.training import JUDGED_ON, Step
from metarl.runs import folder as run_folder
from metarl.runs.run import CheckpointSettings, Hooks


@dataclass(frozen=True)
class Train:
    """One command line."""

    family: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FAMILY")]
    """Task family: one of those above, or module:attribute for a TaskFamily of your own."""
    settings: Annotated[TrainSettings, tyro.conf.OmitArgPrefixes]
    """The settings, with the values that suit the task family."""
    checkpoints: Annotated[CheckpointSettings, tyro.conf.OmitArgPrefixes] = field(default_factory=CheckpointSettings)
    """How often the run is saved."""
    out: Path | None = None
    """Run folder, which must be new; runs/FAMILY-METHOD-seedSEED if left out."""


@dataclass(frozen=True)
class Resume:
    """The command line that goes on with a run."""

    resume: Path
    """Folder of a run that was interrupted; it goes on from its newest checkpoint, with its own settings."""
    checkpoints: Annotated[CheckpointSettings, tyro.conf.OmitArgPrefixes] = field(default_factory=CheckpointSettings)
    """How often the run is saved."""


def main(arguments: Sequence[str]) -> None:
    """Runs the command; ValueError says what is wrong with its arguments."""
    if any(word.partition("=")[0] == "--resume" for word in arguments):
        command = parse(Resume, arguments, "metarl train")
        if is_image_run(command.resume):
            train_images.resume(command.resume, command.checkpoints)
        else:
            resume(command)
    elif arguments[:1] == ["images"]:
        train_images.main(arguments[1:])
    else:
        start(parse_train(arguments))


def resume(command: Resume) -> None:
    """Goes on with a run."""
    name, settings = run_folder.read_config(command.resume)
    family = family_by_name(name)

    def run(hooks: Hooks) -> Controller:
        return api.resume(command.resume, family=family, checkpoints=command.checkpoints, hooks=hooks)

    report(command.resume, family, settings, run)


def start(command: Train) -> None:
    """Begins a run."""
    family = family_by_name(command.family)
    settings = command.settings
    name = family.name.replace(":", ".")
    folder = command.out or Path("runs") / f"{name}-{settings.method}-seed{settings.seed}"

    def run(hooks: Hooks) -> Controller:
        return api.train(family, settings=settings, out=folder, checkpoints=command.checkpoints, hooks=hooks)

    report(folder, family, settings, run)


def report(folder: Path, family: TaskFamily, settings: TrainSettings, run: Callable[[Hooks], Controller]) -> None:
    """Runs with a progress line and says what came out."""
    console = Console(highlight=False)
    start = time.monotonic()
    controller = train_into(folder, family, settings, console, run)
    console.print(summary(controller, family, folder, time.monotonic() - start), soft_wrap=True)


def parse_train(arguments: Sequence[str]) -> Train:
    """Parsed twice: the family is known only then, and with it the settings that are the defaults."""
    named = next((word for word in arguments if word in FAMILIES), None)
    defaults = f"The defaults are those of {named}." if named else "metarl train FAMILY --help shows its own defaults."
    description = (
        "Meta-train a policy on a task family and keep its best controller.\n\n"
        f"Task families: {', '.join(FAMILIES)}.\n\nMethods: {', '.join(METHODS)}.\n\n{defaults}\n\n"
        "metarl train images --help tells how to meta-train on few-shot images.\n\n"
        "metarl train --resume DIR goes on with a run that was interrupted."
    )

    def parsed(settings: TrainSettings) -> Train:
        default = Train(family=tyro.MISSING, settings=settings)
        return parse(Train, arguments, "metarl train", default, description)

    family = family_by_name(parsed(preset(named or "")).family)
    return parsed(preset(family.name))


def train_into(
    folder: Path, family: TaskFamily, settings: TrainSettings, console: Console, run: Callable[[Hooks], Controller]
) -> Controller:
    """Calls ``run`` with a progress line, and leaves the folder with its plot whatever ends the training.

    An ``Interrupted`` or FloatingPointError that comes out says where the controller is.
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
            message = f"interrupted; {saved(folder)}"
            raise Interrupted(interrupted.number, message) from None
        except FloatingPointError as error:
            raise FloatingPointError(f"{error}; {saved(folder)}") from None
        finally:
            # A folder that was refused is another run's.
            if done:
                plot_learning_curve(folder, family.name, settings)


def training_line(step: Step) -> str:
    """Return before and after adaptation, KL divergence, environment steps per second of sampling, skipped updates."""
    report = step.report
    if report is None:
        return f"skipped: {step.fault}; {step.state.skipped} skipped so far"
    return join(
        f"return {number(report.returns[0].mean)} → {number(report.returns[-1].mean)}",
        f"KL {report.search.measured.kl:.4f}",
        f"{report.steps / step.seconds['sampling'] / 1000:.0f}k steps/s",
        f"{step.state.skipped} skipped" if step.state.skipped else "",
    )


def saved(folder: Path) -> str:
    """What a training that did not reach its end has left."""
    path = folder / run_folder.CONTROLLER
    if not path.is_file():
        return "nothing was trained yet"
    done = load_controller(path).metadata.training["iterations"]
    what = f"the best controller of {done} meta-iterations" if done else "the untrained controller"
    return f"{what} is in {path}; metarl train --resume {folder} goes on"


def summary(controller: Controller, family: TaskFamily, folder: Path, seconds: float) -> str:
    """What came out, where it is, and what to type next."""
    training = controller.metadata.training
    path = folder / run_folder.CONTROLLER
    task = example_task(family)
    own = f" --family {family.name}" if ":" in family.name else ""
    files = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    return (
        f"Meta-trained in {clock_time(seconds)}; best in iteration {training['best_iteration']}: return "
        f"{number(training['best_return'])} after adaptation, a mean of up to {JUDGED_ON} iterations.\n"
        f"In {folder}: {', '.join(files)}\n\n"
        "Next:\n"
        f"  metarl evaluate {path}{own}\n"
        f"  metarl adapt {path} --task {task}{own}\n"
        f"  metarl render {path} --task {task} --out episode.gif{own}\n"
        f"  tensorboard --logdir {folder}"
    )


def example_task(family: TaskFamily) -> str:
    """A task as one types it."""
    task = family.task_dict(family.sample_tasks(1, generator(0, Purpose.EVALUATION))[0])
    return " ".join(f"{name}={value:.2f}" for name, value in task.items())
