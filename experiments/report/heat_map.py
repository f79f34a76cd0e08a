"""A chart of many layers: a row for each, whose colour changes over the meta-iterations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metarl.experiments.analysis.logs import Array
from metarl.experiments.report import drawing
from metarl.experiments.report.chart import Chart, Member, Row
from metarl.experiments.report.colors import color, color_bar
from metarl.experiments.report.curves import Curve, thinned
from metarl.experiments.report.drawing import Frame, Scale, typeset

LEFT = 104.0  # room for the names of layers
ROW = 12.0
MOST_COLUMNS = 80
LEVELS = 24  # colours that differ


def heat_map(
    title: str, label: str, members: Sequence[Member], span: tuple[float, float], *, group: int, note: str = ""
) -> Chart:
    """The mean of each curve by colours from the lowest of ``span`` to the highest; a zero has no colour."""
    x = np.unique(np.concatenate([member.curve.x for member in members]))
    narrow = [thinned(spread(member.curve, x), MOST_COLUMNS) for member in members]
    edges = edges_of(narrow[0].x)
    height = drawing.TOP + ROW * len(members) + drawing.BOTTOM
    scales = Frame(
        Scale(float(edges[0]), float(edges[-1]), LEFT, drawing.WIDTH - drawing.RIGHT, counts=True),
        Scale(0.0, float(len(members)), height - drawing.BOTTOM, drawing.TOP),
    )
    tops = [drawing.TOP + ROW * index for index in range(len(members))]
    return Chart(
        title,
        "meta-iteration",
        label,
        scales,
        cells=tuple(cells(np.array([each.mean for each in narrow]), scales.x(edges), tops, span)),
        rows=tuple(
            Row(top + ROW / 2, ROW, member.label, told(member)) for member, top in zip(members, tops, strict=True)
        ),
        colors=color_bar(typeset(f"{span[0]:.3g}"), typeset(f"{span[1]:.3g}")),
        note=f"{note} Cells without colour are zero.".strip(),
        group=group,
        height=height,
    )


def spread(curve: Curve, x: Array) -> Curve:
    """The mean at all of ``x``; nan where the curve has no point."""
    mean = np.full(len(x), np.nan)
    mean[np.searchsorted(x, curve.x)] = curve.mean
    return Curve(x, mean, mean, mean)


def edges_of(x: Array) -> Array:
    """The borders of columns around x [column]: half way to the next."""
    if len(x) == 1:
        return np.array([x[0] - 0.5, x[0] + 0.5])
    half = np.diff(x) / 2
    return np.concatenate([[x[0] - half[0]], x[:-1] + half, [x[-1] + half[-1]]])


def cells(values: Array, edges: Array, tops: Sequence[float], span: tuple[float, float]) -> list[tuple[str, str]]:
    """Colours with the path of all cells of [row, column] that have it; neighbours of one colour are one piece."""
    low, high = span
    shares = np.clip((values - low) / (high - low), 0, 1)
    filled = np.isfinite(values) & (values != 0)
    levels = np.where(filled, np.rint(np.nan_to_num(shares) * (LEVELS - 1)), -1).astype(int)
    paths: dict[int, list[str]] = {}
    for row, top in zip(levels, tops, strict=True):
        starts = np.flatnonzero(np.diff(row, prepend=-2))
        for start, end in zip(starts, [*starts[1:], len(row)], strict=True):
            if row[start] >= 0:
                left, right = edges[start], edges[end]
                piece = f"M{left:.1f} {top:g}H{right:.1f}V{top + ROW:g}H{left:.1f}Z"
                paths.setdefault(int(row[start]), []).append(piece)
    return [(color(level / (LEVELS - 1)), "".join(pieces)) for level, pieces in sorted(paths.items())]


def told(member: Member) -> str:
    """The layer with its first number and its last."""
    known = member.curve.mean[np.isfinite(member.curve.mean)]
    return f"{member.label}: {typeset(f'{known[0]:.3g}')} → {typeset(f'{known[-1]:.3g}')}"
