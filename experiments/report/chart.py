"""A chart as plain data, ready for the template; and the kind of chart that most are: curves over the iterations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from metarl.experiments.analysis.logs import Array
from metarl.experiments.report import drawing
from metarl.experiments.report.colors import ColorBar
from metarl.experiments.report.curves import MOST_POINTS, Curve, thinned
from metarl.experiments.report.drawing import Frame, data_range, frame

LARGE = (560.0, 290.0)
TONES = 8  # colours c0, c1, ... in the style sheet, each for light and dark


@dataclass(frozen=True)
class Line:
    """A line and its band as paths; ``group`` is what the legend can hide."""

    label: str
    tone: str
    group: int
    path: str
    band: str = ""
    dashed: bool = False


@dataclass(frozen=True)
class Dot:
    """One task: a class of the style sheet colours it, or ``fill`` does."""

    x: float
    y: float
    title: str
    tone: str = ""
    fill: str = ""


@dataclass(frozen=True)
class Row:
    """A row of a heat map: its middle and its height in pixels, and what it tells when one points at it."""

    y: float
    height: float
    label: str
    title: str


@dataclass(frozen=True)
class Chart:
    """All that is drawn. ``rule`` is the pixel of a horizontal line and its label.

    A heat map has ``rows`` in place of a y axis, and ``cells``: of each colour among its ``colors``, the path of all
    that have it.
    """

    title: str
    x_label: str
    y_label: str
    frame: Frame
    lines: tuple[Line, ...] = ()
    dots: tuple[Dot, ...] = ()
    cells: tuple[tuple[str, str], ...] = ()
    rows: tuple[Row, ...] = ()
    colors: ColorBar | None = None
    rule: tuple[float, str] | None = None
    note: str = ""
    legend: bool = False  # of its own, where the lines are not one for each group
    group: int | None = None  # the one that the whole chart is about
    width: float = drawing.WIDTH
    height: float = drawing.HEIGHT


@dataclass(frozen=True)
class Member:
    """A curve on its way into a chart."""

    label: str
    tone: str
    group: int
    curve: Curve
    dashed: bool = False


def tone(index: int) -> str:
    """The colour of the index-th group, or layer."""
    return f"c{index % TONES}"


def line_chart(
    title: str,
    y_label: str,
    members: Sequence[Member],
    *,
    y_range: tuple[float, float] | None = None,
    include: Sequence[float] = (),
    rule: float | None = None,
    note: str = "",
    legend: bool = False,
    group: int | None = None,
    counts: bool = False,
    most: int = MOST_POINTS,
    size: tuple[float, float] = (drawing.WIDTH, drawing.HEIGHT),
) -> list[Chart]:
    """Curves over the meta-iterations: a list of one chart, or of none if there are no curves.

    Without ``y_range`` the axis holds the curves, the values in ``include``, and the ``rule``;
    ``counts`` says that they are whole numbers. No curve is drawn through more than ``most`` points.
    """
    if not members:
        return []
    members = [replace(member, curve=thinned(member.curve, most)) for member in members]
    levels = [*include, *([] if rule is None else [rule])]
    x_range = data_range([member.curve.x for member in members], margin=0.02)
    y_range = y_range or data_range(extent(members), levels)
    scales = frame(x_range, y_range, *size, x_counts=True, y_counts=counts)
    level = None if rule is None else (float(scales.y(np.array(rule))), f"limit {rule:g}")
    lines = tuple(draw(member, scales) for member in members)
    width, height = size
    return [
        Chart(
            title,
            "meta-iteration",
            y_label,
            scales,
            lines,
            rule=level,
            note=note,
            legend=legend,
            group=group,
            width=width,
            height=height,
        )
    ]


def draw(member: Member, scales: Frame) -> Line:
    """The curve as paths."""
    curve = member.curve
    x = scales.x(curve.x)
    band = drawing.band_path(x, scales.y(curve.low), scales.y(curve.high))
    path = drawing.line_path(x, scales.y(curve.mean))
    return Line(member.label, member.tone, member.group, path, band, member.dashed)


def extent(members: Sequence[Member]) -> list[Array]:
    """All that has to fit into a chart of these curves."""
    return [values for member in members for values in (member.curve.mean, member.curve.low, member.curve.high)]
