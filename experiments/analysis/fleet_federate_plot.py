"""The plot of what federations reach against the bytes that a client gets."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from metarl.experiments.analysis.fleet_federate import FiledFederation, Protocol, by_protocol, told_row
from metarl.experiments.analysis.plots import DOTS_PER_INCH
from metarl.experiments.analysis.style import LIGHT, SERIES, STYLE


def federation_figure(filed: Sequence[FiledFederation]) -> Figure:
    """Plot what clients hold reaches over the bytes that a client of each round has received; a panel per protocol."""
    groups = by_protocol(filed)
    with rc_context(STYLE | {"axes.grid.axis": "both"}):
        figure = Figure(figsize=(8, 0.6 + 3.4 * len(groups)), dpi=DOTS_PER_INCH)
        panels = figure.subplots(len(groups), squeeze=False)[:, 0]
        for axes, (protocol, own) in zip(panels, groups.items(), strict=True):
            draw_protocol(axes, protocol, own)
        panels[-1].set_xlabel("bytes down to a client that is asked in all rounds (MB)")
    return figure


def draw_protocol(axes: Axes, protocol: Protocol, filed: Sequence[FiledFederation]) -> None:
    """Draw the mean curve over seeds of each kind of weights, dashed where clients' data are skewed."""
    kinds = sorted({each.row for each in filed})
    for row, color in zip(kinds, SERIES, strict=False):
        for skew in sorted({each.setting["skew"] for each in filed}):
            own = [each.record for each in filed if each.row == row and each.setting["skew"] == skew]
            if not own:
                continue
            rounds = [number for number, _ in own[0]["curve"]]
            means = [
                math.fsum(curve) / len(own)
                for curve in zip(*([y for _, y in each["curve"]] for each in own), strict=True)
            ]
            down = [number * own[0]["bytes_down"] / 1e6 for number in rounds]
            label = told_row(row) + (f", skew {skew:g}" if skew else "")
            axes.plot(down, means, color=LIGHT[color], linestyle="--" if skew else "-", label=label)
    measure = "accuracy" if filed[0].is_images else "return after adaptation"
    axes.set(title=protocol.title, ylabel=measure, xscale="log")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
