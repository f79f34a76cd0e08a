"""The plot of what pruned controllers reach against the bytes of their files."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metarl.core.intervals import interval_on_shared_tasks
from metarl.experiments.analysis.plots import DOTS_PER_INCH
from metarl.experiments.analysis.pruning_table import CRITERIA, FiledVerdict, Protocol, by_protocol
from metarl.experiments.analysis.style import LIGHT, SERIES, STYLE

KILO = 1000


def pruning_figure(verdicts: Sequence[FiledVerdict]) -> Figure:
    """Plot the return or accuracy after adaptation against the bytes of the file.

    Each protocol with two sparsities or more has a panel, each criterion a line; if there is none, all have a panel.
    """
    protocols = by_protocol(verdicts)
    curves = {key: own for key, own in protocols.items() if len({each.sparsity for each in own}) > 1}
    groups = curves or protocols
    with rc_context(STYLE | {"axes.grid.axis": "both"}):
        figure = Figure(figsize=(8, 0.6 + 3.4 * len(groups)), dpi=DOTS_PER_INCH)
        panels = figure.subplots(len(groups), squeeze=False)[:, 0]
        for axes, (protocol, own) in zip(panels, groups.items(), strict=True):
            draw_protocol(axes, protocol, own)
        panels[-1].set_xlabel("file (kB of 1,000 bytes)")
    return figure


def draw_protocol(axes: Axes, protocol: Protocol, verdicts: Sequence[FiledVerdict]) -> None:
    """Draw the criteria of one protocol, and the dense controller's line."""
    dense = verdicts[0].reached("before")
    axes.axhline(dense, color=LIGHT["soft"], linestyle="--", label="dense")
    for criterion, color in zip(CRITERIA, SERIES, strict=False):
        own = [each for each in verdicts if each.criterion == criterion]
        cells = [[each for each in own if each.sparsity == sparsity] for sparsity in {each.sparsity for each in own}]
        cells.sort(key=lambda cell: cell[0].sparsity)
        overs = [interval_on_shared_tasks([each.difference for each in cell]) for cell in cells]
        axes.errorbar(
            [sum(each.record["file_bytes"]["after"] for each in cell) / len(cell) / KILO for cell in cells],
            [dense + over.mean for over in overs],
            yerr=[over.ci95 for over in overs],
            marker="o",
            capsize=3,
            color=LIGHT[color],
            label=criterion if cells else None,
        )
    axes.set(title=protocol.title, ylabel=f"{verdicts[0].measure} after adaptation")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
