"""``metarl train images``: meta-trains a network on few-shot images and says where everything is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from metarl.experiments.analysis.learning_curves import plot_image_learning_curve
from metarl.experiments.console.interrupts import Interrupted, interruptible
from metarl.experiments.console.parsing import parse
from metarl.experiments.console.progress import clock_time, decoding_line, join, live_progress
from metarl.images.run import IMAGE_CHECKPOINTS, read_image_config, resume_image_run, start_image_run
from metarl.images.settings import ImageSettings
from metarl.images.training import ImageStep, load_data
from metarl.policies.classifier import Classifier
from metarl.policies.loading import load_classifier
from metarl.policies.methods import METHODS
from metarl.runs.folder import CONTROLLER
from metarl.runs.run import CheckpointSettings

DESCRIPTION = (
    "Meta-train a network on few-shot images and keep the one of the best epoch.\n\n"
    f"Methods: {', '.join(METHODS)}.\n\n"
    "metarl train --resume DIR goes on with a run that was interrupted."
)
Run = Callable[[Callable[[ImageStep], None], Callable[[], None]], Classifier]


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
    """Runs the command, given the words after ``images``; ValueError says what is wrong with them."""
    command = parse(TrainImages, arguments, "metarl train images", description=DESCRIPTION)
    settings = replace(command.settings, data=command.settings.data.absolute())
    name = f"images-{settings.backbone}-{settings.method}-{settings.shots}shot-seed{settings.seed}"
    folder = command.out or Path("runs") / name
    console = Console(highlight=False)
    data = load_data(settings, decoding_line(console))
    report(
        folder, settings, console, lambda *hooks: start_image_run(folder, settings, data, command.checkpoints, *hooks)
    )


def resume(folder: Path, checkpoints: CheckpointSettings) -> None:
    """Goes on with a run."""
    settings = read_image_config(folder)
    console = Console(highlight=False)
    data = load_data(settings, decoding_line(console))
    report(folder, settings, console, lambda *hooks: resume_image_run(folder, settings, data, checkpoints, *hooks))


def report(folder: Path, settings: ImageSettings, console: Console, run: Run) -> None:
    """Runs with a progress line and says what came out, where it is, and what to type next."""
    start = time.monotonic()
    training = train_into(folder, settings, console, run).metadata.training
    files = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    path = folder / CONTROLLER
    console.print(
        f"Meta-trained in {clock_time(time.monotonic() - start)}; best in epoch {training['best_epoch']}: accuracy "
        f"{training['best_validation_accuracy']:.1%} after adaptation on the validation tasks.\n"
        f"In {folder}: {', '.join(files)}\n\n"
        "Next:\n"
        f"  metarl evaluate {path} --data {settings.data}\n"
        f"  metarl inspect {path}\n"
        f"  tensorboard --logdir {folder}",
        soft_wrap=True,
    )


def train_into(folder: Path, settings: ImageSettings, console: Console, run: Run) -> Classifier:
    """Calls ``run`` with a progress line, and leaves the folder with its plot whatever ends the training.

    An ``Interrupted`` or FloatingPointError that comes out says where the classifier is.
    """
    validation, done = "", 0
    with interruptible() as check, live_progress(console, settings.iterations, "meta-iterations") as show:

        def on_iteration(step: ImageStep) -> None:
            nonlocal validation, done
            done = step.state.iteration
            if step.validation is not None:
                validation = f"validation {step.validation.mean:.1%}"
            show(done, join(training_line(step), validation))

        try:
            return run(on_iteration, check)
        except Interrupted as interrupted:
            raise Interrupted(interrupted.number, f"interrupted; {saved(folder)}") from None
        except FloatingPointError as error:
            raise FloatingPointError(f"{error}; {saved(folder)}") from None
        finally:
            # A folder that was refused is another run's.
            if done:
                plot_image_learning_curve(folder, settings)


def training_line(step: ImageStep) -> str:
    """Accuracy before and after adaptation, query loss after it, seconds of the iteration."""
    if step.report is None:
        return f"skipped: {step.fault}; {step.state.skipped} skipped so far"
    before, after = step.report.before, step.report.after
    return join(
        f"accuracy {before.accuracy:.0%} → {after.accuracy:.0%}",
        f"loss {after.loss:.2f}",
        f"{step.seconds['meta-gradient']:.1f} s/iteration",
    )


def saved(folder: Path) -> str:
    """What a training that did not reach its end has left."""
    path = folder / CONTROLLER
    epoch = load_classifier(path).metadata.training["best_epoch"] if path.is_file() else 0
    what = f"the classifier of epoch {epoch}, the best so far, is in {path}" if epoch else "no epoch is complete yet"
    return f"{what}; metarl train --resume {folder} goes on"
