"""``metarl train images``: meta-trains a network on few-shot images and says where everything is."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from metarl.experiments.analysis.learning_curves import plot_image_learning_curve
from metarl.experiments.console.allocator import keep_freed_memory
from metarl.experiments.console.interrupts import Interrupted, interruptible
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import parse
from metarl.experiments.console.progress import clock_time, decoding_line, join, live_progress
from metarl.experiments.console.suggestions import command_line
from metarl.images.run import IMAGE_CHECKPOINTS, read_image_config
from metarl.images.settings import ImageSettings
from metarl.images.training import ImageTraining, load_data
from metarl.policies.classifier import Classifier
from metarl.policies.loading import load_classifier
from metarl.policies.methods import METHODS
from metarl.runs.callbacks import Callback
from metarl.runs.folder import CONTROLLER
from metarl.runs.run import CheckpointSettings, run
from metarl.runs.state import Step

DESCRIPTION = (
    "Meta-train a network on few-shot images and keep the one of the best epoch.\n\n"
    f"Methods: {', '.join(METHODS)}.\n\n"
    "metarl train --resume DIR goes on with a run that was interrupted."
)


@dataclass(frozen=True)
class TrainImages:
    """One command line."""

    settings: Annotated[ImageSettings, tyro.conf.OmitArgPrefixes]
    """The settings."""
    checkpoints: Annotated[CheckpointSettings, tyro.conf.OmitArgPrefixes] = IMAGE_CHECKPOINTS
    """How often the run is saved."""
    out: Path | None = None
    """Run folder, which must be new; runs/images-BACKBONE-METHOD-SHOTSshot-seedSEED if left out."""


def main(arguments: Sequence[str]) -> None:
    """Run the command, given the words after ``images``; ValueError says what is wrong with them."""
    command = parse(TrainImages, arguments, "metarl train images", description=DESCRIPTION)
    settings = replace(command.settings, data=command.settings.data.absolute())
    name = f"images-{settings.backbone}-{settings.method}-{settings.shots}shot-seed{settings.seed}"
    report(settings, command.out or Path("runs") / name, command.checkpoints)


def resume(folder: Path, checkpoints: CheckpointSettings) -> None:
    """Go on with a run."""
    report(read_image_config(folder), folder, checkpoints, resume=True)


def report(settings: ImageSettings, folder: Path, checkpoints: CheckpointSettings, resume: bool = False) -> None:
    """Train with a progress line and say what came out, where it is, and what to type next."""
    keep_freed_memory()
    console = Terminal()
    start = time.monotonic()
    training = ImageTraining(settings, load_data(settings, decoding_line(console)))
    record = train_into(training, folder, console, checkpoints, resume).metadata.training
    files = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    path = folder / CONTROLLER
    console.print(
        f"Meta-trained in {clock_time(time.monotonic() - start)}; best in epoch {record['best_epoch']}: accuracy "
        f"{record['best_validation_accuracy']:.1%} after adaptation on the validation tasks.\n"
        f"In {folder}: {', '.join(files)}\n\n"
        "Next:\n"
        f"  {command_line('evaluate', path, '--data', settings.data)}\n"
        f"  {command_line('inspect', path)}\n"
        f"  tensorboard --logdir {shlex.quote(str(folder))}",
        soft_wrap=True,
    )


class TrainingDisplay(Callback):
    """Shows each iteration in a line, and stops the training where a signal asks for it."""

    def __init__(self, show: Callable[[int, str], None], check: Callable[[], None]) -> None:
        self.show, self.check, self.done, self.validation = show, check, 0, ""

    def on_phase(self) -> None:
        self.check()

    def on_iteration(self, step: Step) -> None:
        self.done = step.state.iteration
        if "validation_accuracy" in step.scalars:
            self.validation = f"validation {step.scalars['validation_accuracy']:.1%}"
        self.show(self.done, join(training_line(step), self.validation))


def train_into(
    training: ImageTraining, folder: Path, console: Console, checkpoints: CheckpointSettings, resume: bool
) -> Classifier:
    """Train with a progress line, and leave the folder with its plot whatever ends the training.

    An ``Interrupted`` or FloatingPointError that comes out says where the classifier is.

    Args:
        training: What is trained.
        folder: The run folder.
        console: Where the progress is shown.
        checkpoints: How often a checkpoint is written.
        resume: Whether to go on with the run in the folder.

    Returns:
        The classifier of the best epoch.
    """
    with interruptible() as check, live_progress(console, training.settings.iterations, "meta-iterations") as show:
        display = TrainingDisplay(show, check)
        try:
            return training.classifier(run(training, folder, checkpoints, [display], resume))
        except Interrupted as interrupted:
            raise Interrupted(interrupted.number, f"interrupted; {saved(folder)}") from None
        except FloatingPointError as error:
            raise FloatingPointError(f"{error}; {saved(folder)}") from None
        finally:
            # A folder that was refused is another run's.
            if display.done:
                plot_image_learning_curve(folder, training.settings)


def training_line(step: Step) -> str:
    """Return accuracy before and after adaptation, query loss after it, seconds of the iteration."""
    if step.fault:
        return f"skipped: {step.fault}; {step.state.skipped} skipped so far"
    return join(
        f"accuracy {step.scalars['accuracy_before']:.0%} → {step.scalars['accuracy_after']:.0%}",
        f"loss {step.scalars['loss_after']:.2f}",
        f"{step.timings['meta_gradient_seconds']:.1f} s/iteration",
    )


def saved(folder: Path) -> str:
    """What a training that did not reach its end has left."""
    path = folder / CONTROLLER
    epoch = load_classifier(path).metadata.training["best_epoch"] if path.is_file() else 0
    what = f"the classifier of epoch {epoch}, the best so far, is in {path}" if epoch else "no epoch is complete yet"
    return f"{what}; {command_line('train', '--resume', folder)} goes on"
