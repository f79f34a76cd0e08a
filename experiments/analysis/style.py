"""Colors and style of every chart, and how a curve is drawn: for the plots of a run folder and for the report."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import EngFormatter, Formatter, MaxNLocator, ScalarFormatter

from metarl.experiments.analysis.curves import Curve

# Each color on a light and on a dark page. The series are those of Okabe and Ito (2008), which color-blind readers can
# tell apart, with their lightness changed for contrast. Light values are unique: a report finds them in its drawings.
PALETTE = {
    "ink": ("#1d2328", "#e6eaed"),
    "soft": ("#5b6670", "#9aa6b0"),
    "grid": ("#e3e7ea", "#313a41"),
    "before": ("#c77f00", "#f0b03c"),
    "after": ("#0069a8", "#58b4f3"),
    "c0": ("#0072b2", "#58b4f2"),
    "c1": ("#d55e00", "#ff8f4d"),
    "c2": ("#008f68", "#3fcf9f"),
    "c3": ("#b8578f", "#e79bc8"),
    "c4": ("#b07a00", "#f0c04a"),
    "c5": ("#2a9fd6", "#a5ddff"),
    "c6": ("#6a51a3", "#b7a3ea"),
    "c7": ("#6b6b6b", "#b0b0b0"),
}
LIGHT = {name: light for name, (light, _) in PALETTE.items()}
SERIES = tuple(name for name in PALETTE if name[1:].isdigit())
# Viridis without its ends, which are hardly visible on a dark or on a light page; a few levels keep drawings small.
COLORMAP = LinearSegmentedColormap.from_list("viridis", colormaps["viridis"](np.linspace(0.15, 0.95, 24)), 24)
STYLE: Any = {
    "font.size": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.edgecolor": LIGHT["soft"],
    "axes.labelcolor": LIGHT["soft"],
    "axes.titlesize": 12,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": LIGHT["grid"],
    "xtick.color": LIGHT["soft"],
    "ytick.color": LIGHT["soft"],
    "ytick.major.size": 0,
    "text.color": LIGHT["ink"],
    "text.parse_math": False,  # names of runs and of task fields may hold any character
    "lines.linewidth": 1.8,
    "lines.markersize": 4,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.wspace": 0.06,
}
BAND_OPACITY = 0.18
LARGE = 1e4  # numbers from here on are written in thousands, then in millions


def series_color(index: int) -> str:
    """Return the name in ``PALETTE`` of the color of the ``index``-th series."""
    return SERIES[index % len(SERIES)]


def draw_curve(axes: Axes, curve: Curve, color: str, label: str, classes: str = "", **line: Any) -> None:
    """Draw a curve and its band.

    Args:
        axes: where to draw it.
        curve: what to draw; the line breaks at nan, and a point between two gaps becomes a dot.
        color: a name in ``PALETTE``.
        label: its name in the legend.
        classes: classes of the line and the band in an SVG of the report.
        **line: properties of the line.
    """
    known, has_band = np.isfinite(curve.mean), np.isfinite(curve.low) & np.isfinite(curve.high)
    isolated = np.flatnonzero(known & ~np.append(False, known[:-1]) & ~np.append(known[1:], False)).tolist()
    look: Any = {"color": LIGHT[color], "label": label}
    if has_band.any():
        band: Any = {"color": LIGHT[color], "alpha": BAND_OPACITY, "linewidth": 0}
        axes.fill_between(curve.x, curve.low, curve.high, has_band, gid=f"band {classes}|", **band)
    if isolated:
        look |= {"marker": "o", "markevery": isolated}
    axes.plot(curve.x, curve.mean, gid=f"line {classes}|{label}", **look, **line)


def round_ticks(most: int = 6, integer: bool = False) -> MaxNLocator:
    """Return a locator of ticks at multiples of 1, 2 or 5 times a power of ten, at whole numbers if ``integer``."""
    return MaxNLocator(most, integer=integer, steps=[1, 2, 5, 10], min_n_ticks=1)


def tick_format(largest: float) -> Formatter:
    """Return how the ticks of an axis up to ``largest`` are written, without an offset or a power of ten aside."""
    if largest >= LARGE:
        return EngFormatter(sep="")
    plain = ScalarFormatter(useOffset=False)
    plain.set_scientific(False)
    return plain
