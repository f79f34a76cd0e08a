"""``metarl train images``: meta-train a network on few-shot images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from metarl.experiments.analysis.training_views import ImageView
from metarl.experiments.console.allocator import keep_freed_memory
from metarl.experiments.console.constructors import Maybe
from metarl.experiments.console.families import word_after
from metarl.experiments.console.parsing import parse
from metarl.experiments.console.progress import decoding_line
from metarl.experiments.console.training import Plan
from metarl.images.run import IMAGE_CHECKPOINTS, read_image_config
from metarl.images.settings import METHOD_PRESETS, ImageSettings
from metarl.images.start import load_data
from metarl.images.training import ImageTraining
from metarl.policies.classifier import Classifier
from metarl.policies.loading import load_classifier
from metarl.policies.methods import METHODS
from metarl.runs.recorder import CheckpointSettings

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
    init: Maybe[str] = None
    """Classifier to start from: a file or a run folder; random if left out."""
    out: Maybe[Path] = None
    """Run folder, which must be new; runs/images-BACKBONE-METHOD-SHOTSshot-seedSEED if left out."""


def planned(arguments: Sequence[str], console: Console) -> Plan:
    """Return a new run, given the words after ``images``; Refusal says what is wrong with them."""
    command = parse_images(arguments)
    settings = replace(command.settings, data=command.settings.data.absolute())
    name = f"images-{settings.backbone}-{settings.method}-{settings.shots}shot-seed{settings.seed}"
    training = prepared(settings, console, None if command.init is None else load_classifier(command.init))
    return Plan(training, command.out or Path("runs") / name, ImageView(training), command.checkpoints)


def parse_images(arguments: Sequence[str]) -> TrainImages:
    """Return the command; the settings that suit the method are the defaults."""
    settings = ImageSettings(data=Path(), **METHOD_PRESETS.get(word_after("--method", arguments) or "", {}))
    object.__setattr__(settings, "data", tyro.MISSING)  # which ImageSettings itself does not allow
    return parse(TrainImages, arguments, "metarl train images", TrainImages(settings), DESCRIPTION)


def resumed(folder: Path, data: Path | None, checkpoints: CheckpointSettings, console: Console) -> Plan:
    """Return a run that goes on.

    Args:
        folder: The run folder.
        data: Where its images are now, None if they have not moved.
        checkpoints: How often it is saved.
        console: Where it is said that images are decoded.

    Returns:
        The run. Refusal says why it cannot go on.
    """
    settings = read_image_config(folder)
    training = prepared(settings if data is None else replace(settings, data=data.absolute()), console)
    return Plan(training, folder, ImageView(training), checkpoints, resume=True)


def prepared(settings: ImageSettings, console: Console, init: Classifier | None = None) -> ImageTraining:
    """Return the training with its images."""
    keep_freed_memory()
    return ImageTraining(settings, load_data(settings, decoding_line(console)), init)
