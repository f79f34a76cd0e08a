"""From numbers to places on a chart: scales, ticks and paths. What the template draws, as plain data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metarl.experiments.analysis.logs import Array

WIDTH, HEIGHT = 440.0, 250.0
LEFT, RIGHT, TOP, BOTTOM = 56.0, 12.0, 10.0, 40.0


@dataclass(frozen=True)
class Scale:
    """Data from ``low`` to ``high`` along pixels from ``start`` to ``end``.

    Ticks stand at ``marks``, or else at round numbers, which are whole ones for what is counted.
    """

    low: float
    high: float
    start: float
    end: float
    counts: bool = False
    marks: tuple[float, ...] = ()

    def __call__(self, values: Array) -> Array:
        """Pixels; nan stays nan."""
        return self.start + (values - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        """Pixels and labels."""
        step, values = (0.0, list(self.marks)) if self.marks else round_values(self.low, self.high, self.counts)
        texts = labels(values, step) if step else [typeset(f"{mark:g}") for mark in values]
        return list(zip(self(np.array(values)).tolist(), texts, strict=True))


@dataclass(frozen=True)
class Frame:
    """The two scales of a chart."""

    x: Scale
    y: Scale


def frame(
    x: tuple[float, float],
    y: tuple[float, float],
    width: float = WIDTH,
    height: float = HEIGHT,
    *,
    x_counts: bool = False,
    y_counts: bool = False,
    marks: tuple[float, ...] = (),
) -> Frame:
    """Scales over the ranges ``x`` and ``y`` within the margins; ``marks`` are ticks of the x axis."""
    return Frame(Scale(*x, LEFT, width - RIGHT, x_counts, marks), Scale(*y, height - BOTTOM, TOP, y_counts))


def data_range(values: Sequence[Array], include: Sequence[float] = (), margin: float = 0.05) -> tuple[float, float]:
    """From the lowest to the highest finite value, with some room on both sides; (0, 1) of nothing."""
    everything = np.concatenate([np.array(include, np.float64), *(np.ravel(value) for value in values)])
    finite = everything[np.isfinite(everything)]
    if not len(finite):
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    largest = max(abs(low), abs(high))
    # What hardly changes shall not look as if it did.
    room = margin * max(high - low, 0.4 * largest)
    if low == high and not room:
        room = 0.1 * largest or 1.0
    return low - room, high + room


def round_values(low: float, high: float, whole: bool = False, most: int = 7) -> tuple[float, list[float]]:
    """The multiples of a step between ``low`` and ``high``, and the step.

    The step is 1, 2 or 5 times a power of ten: the smallest that gives no more than ``most`` multiples, ``whole`` ones
    if so asked.
    """
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    for factor in (1, 2, 5, 10, 20):
        step = max(factor * power, 1.0) if whole else factor * power
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            break
    return step, [count * step for count in range(first, last + 1)]


def labels(values: Sequence[float], step: float) -> list[str]:
    """The ticks' numbers, with no more digits than the step needs; from 10000 on in thousands, then in millions."""
    largest = max(map(abs, values), default=0.0)
    unit, suffix = (1e6, "M") if largest >= 1e6 else (1e3, "k") if largest >= 1e4 else (1.0, "")
    decimals = max(0, -math.floor(math.log10(step / unit) + 1e-9))
    texts = [f"{value / unit + 0.0:.{decimals}f}{suffix}" if value else "0" for value in values]
    return list(map(typeset, texts))


def typeset(number: str) -> str:
    """With a minus sign in place of the hyphen."""
    return number.replace("-", "\N{MINUS SIGN}")


def line_path(x: Array, y: Array) -> str:
    """The ``d`` of a line [point]; it breaks where y is nan, and a point between two breaks becomes a dot."""
    parts, begins = [], True
    finite = np.isfinite(y)
    for index in np.flatnonzero(finite):
        begins = index == 0 or not finite[index - 1]
        ends = index + 1 == len(y) or not finite[index + 1]
        parts.append(f"{'M' if begins else 'L'}{x[index]:.1f} {y[index]:.2f}{'h0' if begins and ends else ''}")
    return "".join(parts)


def band_path(x: Array, low: Array, high: Array) -> str:
    """The ``d`` of the area between two lines [point], one part for each stretch without nan."""
    finite = np.isfinite(low) & np.isfinite(high)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], finite, [False]]).astype(int)))
    parts = []
    for start, end in edges.reshape(-1, 2):
        if end - start > 1:
            there = [f"{a:.1f} {b:.2f}" for a, b in zip(x[start:end], high[start:end], strict=True)]
            back = [f"{a:.1f} {b:.2f}" for a, b in zip(x[start:end], low[start:end], strict=True)]
            parts.append(f"M{'L'.join([*there, *back[::-1]])}Z")
    return "".join(parts)


def bin_means(x: Array, y: Array, low: float, high: float, bins: int = 8) -> tuple[Array, Array]:
    """The centres of equal bins between ``low`` and ``high``, and the mean of y [point] in each; nan of none."""
    edges = np.linspace(low, high, bins + 1)
    index = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, bins - 1)
    return (edges[1:] + edges[:-1]) / 2, means(y, [index == number for number in range(bins)])


def choice_means(x: Array, y: Array, choices: Sequence[float]) -> tuple[Array, Array]:
    """The values that x can take, and the mean of y [point] at each; nan of none."""
    return np.array(choices), means(y, [x == choice for choice in choices])


def means(y: Array, groups: Sequence[NDArray[np.bool_]]) -> Array:
    """The mean of each group [group]; nan of none."""
    return np.array([y[members].mean() if members.any() else np.nan for members in groups])
