"""Draw the learning curve of a run into its folder."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from metarl.core.distribution import install_command
from metarl.experiments.analysis.logs import read_log
from metarl.images.settings import ImageSettings
from metarl.policies.methods import get_method
from metarl.rl.settings import TrainSettings
from metarl.runs.folder import PROGRESS


def plot_learning_curve(folder: Path, family: str, settings: TrainSettings) -> None:
    """Draw returns and KL divergence from the run's ``progress.csv``; warn if matplotlib is not installed."""
    with _matplotlib_is_optional():
        from metarl.experiments.analysis import plots

        progress = read_log(folder / PROGRESS).columns
        max_kl = settings.max_kl if get_method(settings.method).outer == "gradient" else None
        figure = plots.learning_curve(progress, f"{family}, {settings.method}", max_kl)
        plots.write(figure, folder / plots.LEARNING_CURVE)


def plot_image_learning_curve(folder: Path, settings: ImageSettings) -> None:
    """Draw accuracies from the run's ``progress.csv``; warn if matplotlib is not installed."""
    with _matplotlib_is_optional():
        from metarl.experiments.analysis import plots

        title = f"{settings.data.name}, {settings.backbone}, {settings.method}"
        figure = plots.image_learning_curve(read_log(folder / PROGRESS).columns, title)
        plots.write(figure, folder / plots.LEARNING_CURVE)


@contextmanager
def _matplotlib_is_optional() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        warnings.warn(f"no learning curve is drawn: it needs {install_command('report')}", stacklevel=3)
