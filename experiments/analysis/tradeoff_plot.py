"""The plot of return against memory."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

from matplotlib import rc_context
from matplotlib.figure import Figure

from metarl.experiments.analysis.plots import DOTS_PER_INCH
from metarl.experiments.analysis.style import LIGHT, SERIES, STYLE
from metarl.experiments.analysis.tradeoff import TradeOff, ordered


def tradeoff_figure(family: str, points: Sequence[TradeOff]) -> Figure:
    """Plot the return with its 95 % interval against the measured peak: a line per method, a point per run."""
    with rc_context(STYLE | {"axes.grid.axis": "both"}):
        figure = Figure(figsize=(8, 4.5), dpi=DOTS_PER_INCH)
        axes = figure.subplots()
        methods = dict.fromkeys(each.method for each in ordered(points))
        for method, color in zip(methods, cycle(SERIES), strict=False):
            own = [each for each in ordered(points) if each.method == method]
            axes.errorbar(
                [each.megabytes for each in own],
                [each.returned.mean for each in own],
                yerr=[each.returned.ci95 for each in own],
                marker="o",
                capsize=3,
                color=LIGHT[color],
                label=method,
            )
            for each in own:
                place = each.megabytes, each.returned.mean
                axes.annotate(f"λ = {each.lasso:g}", place, (6, 6), textcoords="offset points", fontsize=9)
        axes.set(title=family, xlabel="measured peak memory of adapting (MB)", ylabel="return after adaptation")
        axes.legend(loc="best")
    return figure
