"""Numbers over the iterations of one run, or of several that differ in the seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metarl.experiments.analysis.logs import Array

MOST_POINTS = 600  # more than a chart has pixels
LARGEST = 1e100  # larger numbers, of a run that diverged, cannot be drawn


@dataclass(frozen=True)
class Curve:
    """A mean over x with its band, each [point]; nan where there is none."""

    x: Array
    mean: Array
    low: Array
    high: Array


def line(x: Array, mean: Array) -> Curve:
    """Return a curve without a band."""
    none = np.full(len(x), np.nan)
    return Curve(x, mean, none, none)


def curve(logs: Sequence[dict[str, Array]], name: str) -> Curve | None:
    """Return a column over the iterations, or None if no log has numbers in it.

    The band of one log is the column's 95 % interval over tasks (``NAME_ci95``), if it has one. The band of several is
    the range from the lowest to the highest; their mean is over the runs that have reached the iteration.
    """
    logs = [log for log in logs if (np.abs(log.get(name, np.nan)) < LARGEST).any()]
    if not logs:
        return None
    x = np.unique(np.concatenate([log["iteration"] for log in logs]))
    values = np.array([_aligned(x, log, name) for log in logs])
    if len(logs) == 1:
        half = _aligned(x, logs[0], f"{name}_ci95")
        return Curve(x, values[0], values[0] - half, values[0] + half)
    count = np.isfinite(values).sum(axis=0)
    total = np.where(np.isfinite(values), values, 0).sum(axis=0)
    return Curve(x, _quotient(total, count), np.fmin.reduce(values), np.fmax.reduce(values))


def thinned(whole: Curve, most: int = MOST_POINTS) -> Curve:
    """Return at most ``most`` points, each the mean of equally many consecutive ones."""
    size = -(-len(whole.x) // most)
    if size == 1:
        return whole
    return Curve(*(chunk_means(values, size) for values in (whole.x, whole.mean, whole.low, whole.high)))


def chunk_means(values: Array, size: int) -> Array:
    """Return the mean of the finite values in each ``size`` consecutive ones, the last chunk may be shorter.

    The mean is nan where a chunk has no finite value.
    """
    padded = np.full(-(-len(values) // size) * size, np.nan)
    padded[: len(values)] = values
    rows = padded.reshape(-1, size)
    known = np.isfinite(rows)
    return _quotient(np.where(known, rows, 0).sum(axis=1), known.sum(axis=1))


def finite(values: Array | None) -> list[float]:
    """Return the finite values; none of None."""
    return [] if values is None else [float(value) for value in values[np.isfinite(values)]]


def mean(values: Sequence[float]) -> float:
    """Return the mean, or nan if there are no values."""
    return sum(values) / len(values) if values else np.nan


def _quotient(total: Array, count: NDArray[np.int64]) -> Array:
    means: Array = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
    return means


def _aligned(x: Array, log: dict[str, Array], name: str) -> Array:
    """Return a log's column at the iterations x; nan where it has no number that can be drawn."""
    values = np.full(len(x), np.nan)
    if name in log:
        values[np.searchsorted(x, log["iteration"])] = np.where(np.abs(log[name]) < LARGEST, log[name], np.nan)
    return values
