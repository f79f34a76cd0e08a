"""Draw the learning curve of a run into its folder."""

from __future__ import annotations

from pathlib import Path

from metarl.experiments.analysis import plots
from metarl.experiments.analysis.logs import read_log
from metarl.images.settings import ImageSettings
from metarl.rl.settings import TrainSettings
from metarl.runs.folder import PROGRESS


def plot_learning_curve(folder: Path, family: str, settings: TrainSettings) -> None:
    """Draw returns and KL divergence from the run's ``progress.csv``."""
    progress = read_log(folder / PROGRESS).columns
    figure = plots.learning_curve(progress, f"{family}, {settings.method}", settings.max_kl)
    plots.write(figure, folder / plots.LEARNING_CURVE)


def plot_image_learning_curve(folder: Path, settings: ImageSettings) -> None:
    """Draw accuracies from the run's ``progress.csv``."""
    title = f"{settings.data.name}, {settings.backbone}, {settings.method}"
    figure = plots.image_learning_curve(read_log(folder / PROGRESS).columns, title)
    plots.write(figure, folder / plots.LEARNING_CURVE)
