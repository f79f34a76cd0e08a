"""The plot of what nested subnets reach against their multiplications."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from metarl.experiments.analysis.fleet_nest import by_protocol, over_seeds, title
from metarl.experiments.analysis.plots import DOTS_PER_INCH
from metarl.experiments.analysis.style import LIGHT, SERIES, STYLE


def nest_figure(records: Sequence[dict[str, Any]]) -> Figure:
    """Plot the return or accuracy after adaptation against the multiplications, a panel for each protocol."""
    groups = by_protocol(records)
    with rc_context(STYLE | {"axes.grid.axis": "both"}):
        figure = Figure(figsize=(8, 0.6 + 3.4 * len(groups)), dpi=DOTS_PER_INCH)
        panels = figure.subplots(len(groups), squeeze=False)[:, 0]
        for axes, group in zip(panels, groups, strict=True):
            dense, measure = group[0]["dense"]["after"], group[0]["measure"]
            axes.axhline(dense, color=LIGHT["soft"], linestyle="--", label="dense")
            for part, color in zip(("subnets", "separate"), SERIES, strict=False):
                cells = list(zip(*(record[part] for record in group), strict=False))
                overs = [over_seeds(cell) for cell in cells]
                axes.errorbar(
                    [sum(each["macs"] for each in cell) / len(cell) for cell in cells],
                    [dense + over.mean for over in overs],
                    yerr=[over.ci95 for over in overs],
                    marker="o",
                    capsize=3,
                    color=LIGHT[color],
                    label=part if cells else None,
                )
            axes.set(title=title(group).replace("; ", ";\n"), ylabel=f"{measure} after adaptation")
            axes.legend()
        panels[-1].set_xlabel("multiplications")
    return figure
