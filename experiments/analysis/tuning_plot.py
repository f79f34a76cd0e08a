"""Draw the trials of a search: how good they were, and which settings mattered."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metarl.experiments.analysis.plots import DOTS_PER_INCH
from metarl.experiments.analysis.style import LIGHT, STYLE, round_ticks
from metarl.tuning.study import Outcome

SEARCH_PLOT = "search.png"


def search_plot(ended: Sequence[Outcome], shares: Mapping[str, float], title: str) -> Figure:
    """Plot the return of every trial by its number, beside the importance of each setting.

    Args:
        ended: The trials that have ended.
        shares: The importance of each setting; without any, the history alone is drawn.
        title: Title of the figure.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 4), dpi=DOTS_PER_INCH)
        figure.suptitle(title)
        if shares:
            history, bars = figure.subplots(1, 2, width_ratios=(3, 2))
            draw_importances(bars, shares)
        else:
            history = figure.subplots()
        draw_history(history, ended)
    return figure


def draw_history(axes: Axes, ended: Sequence[Outcome]) -> None:
    """Draw complete and pruned trials as points, and the best so far as a line."""
    for state, color, marker in (("complete", "after", "o"), ("pruned", "before", "x")):
        points = [(each.number, each.value) for each in ended if each.state == state and each.value is not None]
        if points:
            numbers, values = zip(*points, strict=True)
            axes.plot(numbers, values, marker, color=LIGHT[color], label=state)
    complete = [each.value if each.state == "complete" else None for each in ended]
    best = accumulate((-math.inf if value is None else value for value in complete), max)
    line = [(each.number, value) for each, value in zip(ended, best, strict=True) if math.isfinite(value)]
    if line:
        numbers, values = zip(*line, strict=True)
        axes.step(numbers, values, where="post", color=LIGHT["ink"], linewidth=1, label="best so far")
    axes.set(xlabel="trial", ylabel="return after adaptation")
    axes.xaxis.set_major_locator(round_ticks(integer=True))
    axes.legend(loc="best")


def draw_importances(axes: Axes, shares: Mapping[str, float]) -> None:
    """Draw a bar for each setting, the most important one above."""
    names = sorted(shares, key=lambda name: shares[name])
    axes.barh(names, [100 * shares[name] for name in names], color=LIGHT["after"], height=0.6)
    axes.set(xlabel="importance (%)")
    axes.grid(visible=False)
