"""A chart of the report, and its SVG in the colors of the page."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metarl.experiments.analysis.curves import LARGEST, Curve, thinned
from metarl.experiments.analysis.logs import Array
from metarl.experiments.analysis.style import LIGHT, STYLE, draw_curve, round_ticks, tick_format

SIZE, LARGE = (400.0, 235.0), (490.0, 255.0)  # pixels
PIXELS_PER_INCH = 72  # those of matplotlib's SVG
SVG_STYLE: Any = STYLE | {
    "svg.fonttype": "none",
    "font.sans-serif": ["DejaVu Sans"],
    "path.simplify": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}
# Namespaces, which HTML does without, control characters, which XML does not allow, and indentation.
UNWANTED = re.compile(r'xlink:(?=href)| xmlns(:xlink)?="[^"]*"|[\x00-\x08\x0b\x0c\x0e-\x1f]|(?<=>)\s+(?=<)')
COLOR = re.compile("#[0-9a-f]{6}")
DIGITS = re.compile(r"(?<=\.\d\d)\d+")  # those that nobody sees
NAMES = {light: f"var(--{name})" for name, light in LIGHT.items()}


@dataclass(frozen=True)
class Key:
    """An entry of a chart's legend."""

    label: str
    color: str
    dashed: bool = False
    is_area: bool = False


@dataclass(frozen=True)
class Chart:
    """A figure and what the page writes around it.

    ``group`` is the group that the whole chart is about, which the page's legend can hide. ``titles`` are the tooltips
    of the dots in each of the figure's scatter plots.
    """

    title: str
    figure: Figure
    legend: tuple[Key, ...] = ()
    note: str = ""
    group: int | None = None
    titles: tuple[str, ...] = ()

    @property
    def is_large(self) -> bool:
        """Whether the chart takes the width of two."""
        return bool(self.figure.bbox.width > SIZE[0])


@dataclass(frozen=True)
class Series:
    """A curve of a chart; ``color`` is a name in the palette, ``group`` the number of the page's group."""

    label: str
    color: str
    group: int
    curve: Curve
    dashed: bool = False


def new_axes(
    x_label: str, y_label: str, size: tuple[float, float] = SIZE, columns: int = 1
) -> tuple[Figure, list[Axes]]:
    """Return a figure and its empty axes side by side; the y label stands above the first.

    Args:
        x_label: What the x axes show.
        y_label: What the y axes show.
        size: Width and height of the figure in inches.
        columns: The number of axes.
    """
    figure = Figure((size[0] / PIXELS_PER_INCH, size[1] / PIXELS_PER_INCH), PIXELS_PER_INCH)
    axes: list[Axes] = list(figure.subplots(1, columns, squeeze=False, sharey=True)[0])
    for each in axes:
        each.set_xlabel(x_label)
        each.xaxis.set_major_locator(round_ticks())
    axes[0].set_title(y_label, loc="left", color=LIGHT["soft"])
    axes[0].yaxis.set_major_locator(round_ticks())
    return figure, axes


def curve_chart(
    title: str,
    y_label: str,
    series: Sequence[Series],
    *,
    y_range: tuple[float, float] | None = None,
    include: Sequence[float] = (),
    limit: float | None = None,
    whole: bool = False,
    note: str = "",
    has_legend: bool = False,
    group: int | None = None,
    size: tuple[float, float] = SIZE,
) -> list[Chart]:
    """Draw curves over the meta-iterations.

    Args:
        title: heading of the chart.
        y_label: quantity and unit.
        series: the curves.
        y_range: ends of the y axis; by default it holds the curves, ``include`` and ``limit``.
        include: values that the y axis holds.
        limit: height of a dashed line.
        whole: whether the values are whole numbers.
        note: sentence below the chart.
        has_legend: whether the chart has a legend of its own.
        group: the group that the chart is about.
        size: width and height in pixels.

    Returns:
        A list of one chart, or of none if there are no curves.
    """
    if not series:
        return []
    figure, (axes,) = new_axes("meta-iteration", y_label, size)
    for each in series:
        dashes: Any = {"linestyle": (0, (3, 2))} if each.dashed else {}
        classes = f"{each.color} g{each.group}{' dashed' if each.dashed else ''}"
        draw_curve(axes, thinned(each.curve), each.color, each.label, classes, **dashes)
    low, high = y_range or data_range(extent(series), [*include, *([] if limit is None else [limit])])
    if limit is not None:
        axes.axhline(limit, color=LIGHT["ink"], linewidth=1, linestyle=(0, (4, 3)))
        axes.set_title(f"limit {limit:g}", loc="right", color=LIGHT["ink"])
    x = np.concatenate([each.curve.x for each in series])
    room = 0.02 * np.ptp(x) or 0.5
    axes.set(xlim=(x.min() - room, x.max() + room), ylim=(low, high))
    axes.xaxis.set_major_locator(round_ticks(integer=True))
    axes.yaxis.set_major_locator(round_ticks(integer=whole))
    for axis, largest in ((axes.xaxis, x.max()), (axes.yaxis, max(abs(low), abs(high)))):
        axis.set_major_formatter(tick_format(largest))
    legend = tuple(Key(each.label, each.color, each.dashed) for each in series) if has_legend else ()
    return [Chart(title, figure, legend, note, group)]


def extent(series: Sequence[Series]) -> list[Array]:
    """Return all values that a chart of these curves has to hold."""
    return [values for each in series for values in (each.curve.mean, each.curve.low, each.curve.high)]


def data_range(values: Sequence[Array], include: Sequence[float] = (), margin: float = 0.05) -> tuple[float, float]:
    """Return the lowest and the highest finite value with some room on both sides; (0, 1) of nothing.

    The room is a share ``margin`` of their distance, or more where the values hardly differ: a small change must not
    look like a large one.
    """
    everything = np.concatenate([np.array(include, np.float64), *(np.ravel(value) for value in values)])
    finite = everything[np.abs(everything) < LARGEST]
    if not len(finite):
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    largest = max(abs(low), abs(high))
    room = margin * max(high - low, 0.4 * largest)
    if low == high and not room:
        room = 0.1 * largest or 1.0
    return low - room, high + room


def inline_svg(chart: Chart, salt: str) -> str:
    """Return the chart as an SVG element for an HTML page.

    Colors of the palette become variables of the page's style sheet. An artist's ``gid``, ``CLASSES|TEXT``, becomes its
    classes and its text: the label of a line, the tooltip of anything else. Other identifiers are those of definitions;
    ``salt`` keeps them apart from those of the page's other charts.
    """
    buffer = io.StringIO()
    with rc_context(SVG_STYLE | {"svg.hashsalt": salt}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # the browser has other fonts
        chart.figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    root = ElementTree.fromstring(UNWANTED.sub("", buffer.getvalue()))
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": chart.title} | scales(chart.figure)
    if chart.is_large:
        root.set("class", "large")
    root.remove(root[0])  # a style sheet, which would be that of the whole page
    for group in root.iter("g"):
        classes, mark, text = group.attrib.pop("id", "").partition("|")
        if mark:
            group.set("class", classes)
        if text and "line" in classes:
            group.set("data-label", text)
        elif text:
            ElementTree.SubElement(group, "title").text = text
    for dots in root.iterfind(".//g[@class='dots']"):
        for dot, title in zip(dots.iter("use"), chart.titles, strict=True):
            ElementTree.SubElement(dot, "title").text = title
    for element in root.iter():
        for name in {"d", "x", "y"} & element.attrib.keys():
            element.set(name, DIGITS.sub("", " ".join(element.attrib[name].split())))
        if "style" in element.attrib:
            element.set("style", COLOR.sub(lambda found: NAMES.get(found[0], found[0]), element.attrib["style"]))
    return ElementTree.tostring(root, encoding="unicode")


def scales(figure: Figure) -> dict[str, str]:
    """Return the limits of the first axes and where they are drawn, for the values under the pointer."""
    axes, height = figure.axes[0], figure.bbox.height
    (left, right), (bottom, top), box = axes.get_xlim(), axes.get_ylim(), axes.bbox
    return {
        "data-x": f"{left:.6g} {right:.6g} {box.x0:.2f} {box.x1:.2f}",
        "data-y": f"{bottom:.6g} {top:.6g} {height - box.y0:.2f} {height - box.y1:.2f}",
    }
