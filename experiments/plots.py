"""Pictures of what a training did, drawn without a screen. Each function returns a figure; ``write`` makes the file."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from metarl.policies.atomic import write_atomically

Array = NDArray[np.float64]

# From the palette of Okabe and Ito (2008), which colour-blind readers can tell apart.
BEFORE, AFTER, LIMIT = "#E69F00", "#0072B2", "#000000"
GOALS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
STYLE = {
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


def _band(axes: Axes, iterations: Array, progress: dict[str, Array], name: str, color: str, label: str) -> None:
    mean, half = progress[name], np.nan_to_num(progress[f"{name}_ci95"])
    axes.fill_between(iterations, mean - half, mean + half, color=color, alpha=0.25, linewidth=0)
    axes.plot(iterations, mean, color=color, linewidth=1.5, label=label, marker="o" if len(mean) == 1 else None)


def trajectories(
    goals: Array, before: Sequence[Sequence[Array]], after: Sequence[Sequence[Array]], limit: float
) -> Figure:
    """Paths in the plane before and after adaptation, side by side.

    ``goals`` [goal, 2]; ``before`` and ``after`` hold each goal's episodes, each [time, 2], from the origin; ``limit``
    is the half-width of the square that goals come from.
    """
    with rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(8, 4.3), dpi=DOTS_PER_INCH)
        panels = figure.subplots(1, 2, sharex=True, sharey=True)
        for axes, paths, title in zip(
            panels, (before, after), ("before adaptation", "after one inner step"), strict=True
        ):
            for number, (goal, episodes) in enumerate(zip(goals, paths, strict=True)):
                color = GOALS[number % len(GOALS)]
                for path in episodes:
                    axes.plot(path[:, 0], path[:, 1], color=color, linewidth=1.2, alpha=0.8)
                axes.plot(*goal, marker="*", markersize=15, color=color, markeredgecolor="black", linestyle="none")
            axes.plot(0, 0, marker="o", markersize=6, color="black", linestyle="none", label="start")
            axes.plot(
                [], [], marker="*", markersize=13, color="white", markeredgecolor="black", ls="none", label="goal"
            )
            axes.set(title=title, xlabel="x", aspect="equal")
            axes.set(xlim=(-1.2 * limit, 1.2 * limit), ylim=(-1.2 * limit, 1.2 * limit))
        panels[0].set_ylabel("y")
        panels[0].legend(loc="upper left", ncols=2, handletextpad=0.1, columnspacing=0.8)
    return figure


def write(figure: Figure, path: Path) -> None:
    """Writes a PNG file, in place of an older one."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_atomically(path, buffer.getvalue())
