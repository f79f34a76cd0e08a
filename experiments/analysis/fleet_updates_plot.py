"""The plot of what robots reach against the bytes that updates took."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from matplotlib import rc_context
from matplotlib.figure import Figure

from metarl.experiments.analysis.fleet_updates import STRATEGIES, FiledSimulation, sent_until
from metarl.experiments.analysis.plots import DOTS_PER_INCH
from metarl.experiments.analysis.style import LIGHT, SERIES, STYLE


def update_figure(simulations: Sequence[FiledSimulation]) -> Figure:
    """Plot the return against the bytes sent so far, a panel for each protocol, a line for each strategy."""
    titles = sorted({each.title for each in simulations})
    with rc_context(STYLE | {"axes.grid.axis": "both"}):
        figure = Figure(figsize=(8, 0.6 + 3.4 * len(titles)), dpi=DOTS_PER_INCH)
        panels = figure.subplots(len(titles), squeeze=False)[:, 0]
        for axes, title in zip(panels, titles, strict=True):
            for strategy, color in zip(STRATEGIES, SERIES, strict=False):
                own = [each for each in simulations if (each.title, each.strategy) == (title, strategy)]
                if not own:
                    continue
                count = min(len(each.rounds) for each in own)
                axes.plot(
                    [fmean([sent_until(each, number) for each in own]) / 1000 for number in range(count)],
                    [fmean([each.reached(number).mean for each in own]) for number in range(count)],
                    marker="o",
                    color=LIGHT[color],
                    label=strategy,
                )
            axes.set_title(title.partition(":")[0])
            axes.set(ylabel="return after adaptation")
            axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        panels[-1].set_xlabel("bytes sent so far (kB of 1,000 bytes)")
    return figure
