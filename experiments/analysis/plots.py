"""Plots of what a training did, drawn without a screen. Each function returns a figure; ``write`` makes the file."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metarl.core.atomic import write_atomically
from metarl.experiments.analysis.curves import Curve, curve, line
from metarl.experiments.analysis.logs import Array
from metarl.experiments.analysis.style import LIGHT, SERIES, STYLE, draw_curve, round_ticks

LEARNING_CURVE = "learning_curve.png"  # in a run folder
DOTS_PER_INCH = 120
NOTHING = line(np.array([]), np.array([]))  # the curve of a column without numbers

Paths = tuple[Array, Array]


def learning_curve(progress: dict[str, Array], title: str, max_kl: float | None) -> Figure:
    """Plot returns before and after adaptation with their 95 % intervals over tasks, above the KL divergence.

    Args:
        progress: the columns of ``progress.csv``, each [iteration].
        title: title of the figure.
        max_kl: limit of the KL divergence, drawn as a line; None where there is none.
    """
    last = max(int(name.split("_")[1]) for name in progress if name.startswith("return_"))
    steps = "1 inner step" if last == 1 else f"{last} inner steps"
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 5), dpi=DOTS_PER_INCH)
        returns, divergence = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        draw_curve(returns, curve([progress], "return_0") or NOTHING, "before", "before adaptation")
        draw_curve(returns, curve([progress], f"return_{last}") or NOTHING, "after", f"after {steps}")
        draw_curve(divergence, curve([progress], "kl") or NOTHING, "after", "KL divergence")
        returns.set(title=title, ylabel="return")
        divergence.set(xlabel="meta-iteration", ylabel="KL")
        if max_kl is not None:
            divergence.axhline(max_kl, color=LIGHT["ink"], linewidth=1, linestyle="--", label="limit")
            divergence.set(ylim=(0, 1.25 * max_kl))
            divergence.legend(divergence.lines[1:], ["limit"], loc="lower right")
        divergence.xaxis.set_major_locator(round_ticks(integer=True))
        returns.legend(loc="best")
    return figure


def image_learning_curve(progress: dict[str, Array], title: str) -> Figure:
    """Plot the accuracy after adaptation in percent over the epochs.

    The accuracy on validation tasks has its 95 % interval; on training tasks it is the mean over each epoch.
    """
    done = np.isfinite(progress["accuracy_after"])
    epochs = np.unique(progress["epoch"][done])
    means = [progress["accuracy_after"][done & (progress["epoch"] == epoch)].mean() for epoch in epochs]
    validated = np.isfinite(progress["validation_accuracy"])
    names = ("epoch", "validation_accuracy", "validation_accuracy_ci95")
    epoch, mean, half = (progress[name][validated] for name in names)
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 4), dpi=DOTS_PER_INCH)
        axes = figure.subplots()
        draw_curve(axes, line(epochs, 100 * np.array(means)), "before", "training tasks, mean over the epoch")
        draw_curve(
            axes, Curve(epoch, 100 * mean, 100 * (mean - half), 100 * (mean + half)), "after", "validation tasks"
        )
        axes.set(title=title, xlabel="epoch", ylabel="accuracy after adaptation (%)")
        axes.set_ylim(top=min(100.0, axes.get_ylim()[1]))
        axes.xaxis.set_major_locator(round_ticks(integer=True))
        axes.legend(loc="best")
    return figure


def trajectories(goals: Array, before: Paths, after: Sequence[Paths], limit: float) -> Figure:
    """Plot paths in the plane before adaptation, and after the adaptation to each goal.

    Args:
        goals: [goal, 2].
        before: an episode [time, 2] with exploration noise and one without, both from the origin.
        after: such a pair for each goal.
        limit: half the side of the square that goals are drawn from.
    """
    colors = [LIGHT[name] for name in SERIES]
    with rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(8, 4.6), dpi=DOTS_PER_INCH)
        panels = figure.subplots(1, 2, sharex=True, sharey=True)
        for axes in panels:
            for goal, color in zip(goals, cycle(colors), strict=False):
                axes.plot(*goal, marker="*", markersize=15, color=color, markeredgecolor="black", zorder=3)
            axes.set(xlabel="x", aspect="equal", xlim=(-1.2 * limit, 1.2 * limit), ylim=(-1.2 * limit, 1.2 * limit))
        _draw_paths(panels[0], before, "dimgray")
        for paths, color in zip(after, cycle(colors), strict=False):
            _draw_paths(panels[1], paths, color)
        panels[0].set(title="before adaptation", ylabel="y")
        panels[1].set(title="after one gradient step")
        panels[0].plot(0, 0, marker="o", markersize=6, color="black", linestyle="none", zorder=3, label="start")
        panels[1].plot(0, 0, marker="o", markersize=6, color="black", zorder=3)
        star = {"marker": "*", "markersize": 13, "color": "white", "markeredgecolor": "black"}
        panels[0].plot([], [], linestyle="none", label="goal", **star)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def write(figure: Figure, path: Path) -> None:
    """Write a PNG file; an older one is replaced."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_atomically(path, buffer.getvalue())


def _draw_paths(axes: Axes, paths: Paths, color: str) -> None:
    noisy, quiet = paths
    axes.plot(*noisy.T, color=color, linewidth=0.8, alpha=0.35, label="as sampled")
    axes.plot(*quiet.T, color=color, linewidth=2.5, label="without noise")
