"""Meta-train on few-shot images in a folder: logged, checkpointed, resumable."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metarl.core.settings import read_settings
from metarl.images.settings import ImageSettings
from metarl.images.start import ImageData
from metarl.images.training import FAMILY, ImageTraining
from metarl.policies.classifier import Classifier
from metarl.runs.callbacks import Callback
from metarl.runs.folder import parse_config
from metarl.runs.recorder import CheckpointSettings
from metarl.runs.run import DEFAULT_CHECKPOINTS, run

# Image networks are large beside policies, and their iterations longer: the clock decides.
IMAGE_CHECKPOINTS = CheckpointSettings(checkpoint_iterations=1000)


def train_images(
    folder: Path | None,
    settings: ImageSettings,
    data: ImageData,
    checkpoints: CheckpointSettings = DEFAULT_CHECKPOINTS,
    callbacks: Sequence[Callback] = (),
    resume: bool = False,
    init: Classifier | None = None,
) -> Classifier:
    """Meta-train on images.

    Args:
        folder: The run folder, which must be new or empty; None to keep nothing on disk.
        settings: The settings of the training.
        data: The images.
        checkpoints: How often a checkpoint is written.
        callbacks: What watches the training.
        resume: Whether to go on from the newest checkpoint in ``folder``, to the same numbers as without interruption.
        init: A classifier to start from; random parameters if left out.

    Returns:
        The classifier of the best epoch.
    """
    training = ImageTraining(settings, data, init)
    return training.classifier(run(training, folder, checkpoints, callbacks, resume))


def is_image_run(folder: Path) -> bool:
    """Return whether the run in the folder is about images; ValueError if it holds no run."""
    return parse_config(folder, lambda content: bool(content["family"] == FAMILY))


def read_image_config(folder: Path) -> ImageSettings:
    """Return the settings of a run; ValueError says why the folder is none."""

    def parse(content: dict[str, Any]) -> ImageSettings:
        return read_settings(ImageSettings, content["settings"])

    return parse_config(folder, parse)
