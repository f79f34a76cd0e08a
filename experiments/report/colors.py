"""The colours that stand for numbers, readable on a light page and on a dark one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex

# The ends of viridis are left out: one is as dark as a dark page, the other hardly darker than a light one.
DARKEST, LIGHTEST = 0.15, 0.95


@dataclass(frozen=True)
class ColorBar:
    """The colours from the lowest number to the highest, and the two numbers as texts."""

    low: str
    high: str
    colors: tuple[str, ...]


def color(share: float) -> str:
    """The colour of a number at this share of the scale."""
    return to_hex(colormaps["viridis"](DARKEST + share * (LIGHTEST - DARKEST)))


def color_bar(low: str, high: str, count: int = 12) -> ColorBar:
    """So many colours of the scale."""
    return ColorBar(low, high, tuple(map(color, np.linspace(0, 1, count))))
