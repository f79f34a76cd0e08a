"""Pictures of what a training did, drawn without a screen. Each function returns a figure; ``write`` makes the file."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from metarl.core.atomic import write_atomically

Array = NDArray[np.float64]

LEARNING_CURVE = "learning_curve.png"  # in a run folder

# From the palette of Okabe and Ito (2008), which colour-blind readers can tell apart.
BEFORE, AFTER, LIMIT = "#E69F00", "#0072B2", "#000000"
GOALS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
STYLE: Any = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}
DOTS_PER_INCH = 120


def read_progress(path: Path) -> dict[str, Array]:
    """The columns of a ``progress.csv`` by name, each [iteration]; an empty cell is nan."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in (rows[0] if rows else ())}


def learning_curve(progress: dict[str, Array], title: str, max_kl: float) -> Figure:
    """Returns before and after adaptation with their 95 % intervals over tasks, above the KL divergence."""
    iterations = progress["iteration"]
    last = max(int(name.split("_")[1]) for name in progress if name.startswith("return_"))
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 5), dpi=DOTS_PER_INCH)
        returns, divergence = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        _band(returns, iterations, progress, "return_0", BEFORE, "before adaptation")
        steps = "1 inner step" if last == 1 else f"{last} inner steps"
        _band(returns, iterations, progress, f"return_{last}", AFTER, f"after {steps}")
        returns.set(title=title, ylabel="return")
        returns.legend(loc="best")
        divergence.plot(iterations, progress["kl"], color=AFTER, linewidth=1)
        divergence.axhline(max_kl, color=LIMIT, linewidth=1, linestyle="--", label="limit")
        divergence.set(xlabel="meta-iteration", ylabel="KL", ylim=(0, 1.25 * max_kl))
        divergence.legend(loc="lower right")
    return figure


def image_learning_curve(progress: dict[str, Array], title: str) -> Figure:
    """Accuracy after adaptation in percent, over the epochs.

    On the validation tasks with its 95 % interval, and on the training tasks as the mean over each epoch.
    """
    done = np.isfinite(progress["accuracy_after"])
    epochs = np.unique(progress["epoch"][done])
    scores = [progress["accuracy_after"][done & (progress["epoch"] == epoch)] for epoch in epochs]
    training = np.array([100 * score.mean() for score in scores])
    validated = np.isfinite(progress["validation_accuracy"])
    names = ("validation_accuracy", "validation_accuracy_ci95")
    validation = {name: 100 * progress[name][validated] for name in names}
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 4), dpi=DOTS_PER_INCH)
        axes = figure.subplots()
        _line(axes, epochs, training, BEFORE, "training tasks, mean over the epoch")
        _band(axes, progress["epoch"][validated], validation, names[0], AFTER, "validation tasks")
        axes.set(title=title, xlabel="epoch", ylabel="accuracy after adaptation (%)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(loc="best")
    return figure


def _band(axes: Axes, iterations: Array, progress: dict[str, Array], name: str, color: str, label: str) -> None:
    mean, half = progress[name], np.nan_to_num(progress[f"{name}_ci95"])
    axes.fill_between(iterations, mean - half, mean + half, color=color, alpha=0.25, linewidth=0)
    _line(axes, iterations, mean, color, label)


def _line(axes: Axes, x: Array, y: Array, color: str, label: str) -> None:
    axes.plot(x, y, color=color, linewidth=1.5, label=label, marker="o" if len(y) == 1 else None)


Paths = tuple[Array, Array]


def trajectories(goals: Array, before: Paths, after: Sequence[Paths], limit: float) -> Figure:
    """Paths in the plane before adaptation, and after the adaptation to each of the ``goals`` [goal, 2].

    Each of the paths starts at the origin and is a pair of episodes [time, 2], with and without exploration noise;
    ``limit`` is the half-width of the square that goals come from.
    """
    with rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(8, 4.6), dpi=DOTS_PER_INCH)
        panels = figure.subplots(1, 2, sharex=True, sharey=True)
        for axes in panels:
            for goal, color in zip(goals, cycle(GOALS), strict=False):
                axes.plot(*goal, marker="*", markersize=15, color=color, markeredgecolor="black", zorder=3)
            axes.set(xlabel="x", aspect="equal", xlim=(-1.2 * limit, 1.2 * limit), ylim=(-1.2 * limit, 1.2 * limit))
        _paths(panels[0], before, "dimgray")
        for paths, color in zip(after, cycle(GOALS), strict=False):
            _paths(panels[1], paths, color)
        panels[0].set(title="before adaptation", ylabel="y")
        panels[1].set(title="after one gradient step")
        panels[0].plot(0, 0, marker="o", markersize=6, color="black", linestyle="none", zorder=3, label="start")
        panels[1].plot(0, 0, marker="o", markersize=6, color="black", zorder=3)
        star = {"marker": "*", "markersize": 13, "color": "white", "markeredgecolor": "black"}
        panels[0].plot([], [], linestyle="none", label="goal", **star)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _paths(axes: Axes, paths: Paths, color: str) -> None:
    noisy, quiet = paths
    axes.plot(*noisy.T, color=color, linewidth=0.8, alpha=0.35, label="as sampled")
    axes.plot(*quiet.T, color=color, linewidth=2.5, label="without noise")


def write(figure: Figure, path: Path) -> None:
    """Writes a PNG file, in place of an older one."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_atomically(path, buffer.getvalue())
