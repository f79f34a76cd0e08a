"""``metarl train``: meta-trains a policy and says where everything is."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from metarl.core.user_code import UserCodeError
from metarl.envs.family import TaskFamily
from metarl.envs.registry import FAMILIES
from metarl.experiments.analysis.learning_curves import plot_learning_curve
from metarl.experiments.commands import train_images
from metarl.experiments.console.families import family_by_name
from metarl.experiments.console.interrupts import Interrupted, interruptible
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import parse
from metarl.experiments.console.progress import clock_time, join, live_progress, number
from metarl.experiments.console.suggestions import command_line, example_task, own_family
from metarl.images.run import is_image_run
from metarl.policies.controller import Controller
from metarl.policies.loading import load_controller
from metarl.policies.methods import METHODS
from metarl.rl.settings import TrainSettings, preset, read_config
from metarl.rl.training import SELECTION_WINDOW, PolicyTraining
from metarl.runs import folder as run_folder
from metarl.runs.callbacks import Callback
from metarl.runs.run import DEFAULT_CHECKPOINTS, CheckpointSettings, run
from metarl.runs.state import Step


@dataclass(frozen=True)
class Train:
    """One command line."""

    family: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FAMILY")]
    """Task family: one of those above, gym:ID with --field, or module:attribute for a TaskFamily of your own."""
    settings: Annotated[TrainSettings, tyro.conf.OmitArgPrefixes]
    """The settings, with the values that suit the task family."""
    checkpoints: Annotated[CheckpointSettings, tyro.conf.OmitArgPrefixes] = field(default_factory=CheckpointSettings)
    """How often the run is saved."""
    fields: Annotated[tuple[str, ...], tyro.conf.arg(name="field", metavar="NAME=LOW:HIGH")] = ()
    """Numbers of the environment gym:ID that make a task, NAME=LOW:HIGH or NAME=VALUE/VALUE; e.g. g=5:15."""
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
    """Go on with a run."""
    name, settings = read_config(command.resume)
    report(PolicyTraining(family_by_name(name), settings), command.resume, command.checkpoints, resume=True)


def start(command: Train) -> None:
    """Begin a run."""
    family, settings = family_by_name(command.family, command.fields), command.settings
    name = family.name.replace(":", ".").replace("/", "-")
    folder = command.out or Path("runs") / f"{name}-{settings.method}-seed{settings.seed}"
    report(PolicyTraining(family, settings), folder, command.checkpoints)


def report(training: PolicyTraining, folder: Path, checkpoints: CheckpointSettings, resume: bool = False) -> None:
    """Train with a progress line and say what came out."""
    console = Terminal()
    start = time.monotonic()
    controller = train_into(training, folder, console, checkpoints, resume)
    console.print(summary(controller, training.family, folder, time.monotonic() - start), soft_wrap=True)


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

    command = parsed(preset(named or ""))
    family = family_by_name(command.family, command.fields)
    return parsed(preset(family.name))


class TrainingDisplay(Callback):
    """Shows each iteration in a line, and stops the training where a signal asks for it."""

    def __init__(self, show: Callable[[int, str], None], check: Callable[[], None]) -> None:
        self.show, self.check, self.done = show, check, 0

    def on_phase(self) -> None:
        self.check()

    def on_iteration(self, step: Step) -> None:
        self.done = step.state.iteration
        self.show(self.done, training_line(step))


def train_into(
    training: PolicyTraining,
    folder: Path,
    console: Console,
    checkpoints: CheckpointSettings = DEFAULT_CHECKPOINTS,
    resume: bool = False,
) -> Controller:
    """Train with a progress line, and leave the folder with its plot whatever ends the training.

    An ``Interrupted``, UserCodeError or FloatingPointError that comes out says where the controller is.

    Args:
        training: What is trained.
        folder: The run folder.
        console: Where the progress is shown.
        checkpoints: How often a checkpoint is written.
        resume: Whether to go on with the run in the folder.

    Returns:
        The controller of the best iteration.
    """
    with interruptible() as check, live_progress(console, training.settings.iterations, "meta-iterations") as show:
        display = TrainingDisplay(show, check)
        try:
            return training.controller(run(training, folder, checkpoints, [display], resume))
        except Interrupted as interrupted:
            message = f"interrupted; {saved(folder)}"
            raise Interrupted(interrupted.number, message) from None
        except (UserCodeError, FloatingPointError) as error:
            raise type(error)(f"{error}; {saved(folder)}") from error
        finally:
            # A folder that was refused is another run's.
            if display.done:
                plot_learning_curve(folder, training.family_name, training.settings)


def training_line(step: Step) -> str:
    """Return before and after adaptation, KL divergence, environment steps per second of sampling, skipped updates."""
    if step.fault:
        return f"skipped: {step.fault}; {step.state.skipped} skipped so far"
    returns = [value for name, value in step.scalars.items() if name.startswith("return_") and name[7:].isdigit()]
    return join(
        f"return {number(returns[0])} → {number(returns[-1])}",
        f"KL {step.scalars['kl']:.4f}",
        f"{step.timings['env_steps_per_second'] / 1000:.0f}k steps/s",
        f"{step.state.skipped} skipped" if step.state.skipped else "",
    )


def saved(folder: Path) -> str:
    """What a training that did not reach its end has left."""
    path = folder / run_folder.CONTROLLER
    if not path.is_file():
        return "nothing was trained yet"
    done = load_controller(path).metadata.training["iterations"]
    what = f"the best controller of {done} meta-iterations" if done else "the untrained controller"
    return f"{what} is in {path}; {command_line('train', '--resume', folder)} goes on"


def summary(controller: Controller, family: TaskFamily, folder: Path, seconds: float) -> str:
    """What came out, where it is, and what to type next."""
    training = controller.metadata.training
    path = folder / run_folder.CONTROLLER
    task, own = example_task(family), own_family(family)
    files = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    return (
        f"Meta-trained in {clock_time(seconds)}; best in iteration {training['best_iteration']}: return "
        f"{number(training['best_return'])} after adaptation, a mean of up to {SELECTION_WINDOW} iterations.\n"
        f"In {folder}: {', '.join(files)}\n\n"
        "Next:\n"
        f"  {command_line('evaluate', path, *own)}\n"
        f"  {command_line('adapt', path, '--task', *task, *own)}\n"
        f"  {command_line('render', path, '--task', *task, '--out', 'episode.gif', *own)}\n"
        f"  tensorboard --logdir {shlex.quote(str(folder))}"
    )
