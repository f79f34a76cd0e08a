"""Numbers over the meta-iterations of a group of runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metarl.experiments.analysis.logs import Array
from metarl.experiments.report.runs import Group
from metarl.images import logs as image_logs
from metarl.rl import logs as policy_logs
from metarl.runs.logs import seconds_column

PHASES = tuple(dict.fromkeys([*policy_logs.PHASES, *image_logs.PHASES]))
MOST_POINTS = 600  # more than a chart has pixels


@dataclass(frozen=True)
class Curve:
    """A number over x with its band, each [point]; nan where there is none."""

    x: Array
    mean: Array
    low: Array
    high: Array


def curve(logs: Sequence[dict[str, Array]], name: str) -> Curve | None:
    """A column over the iterations; None if no log has numbers in it.

    Of one log the band is the column's 95 % interval over tasks, where it has one. Of several it is the range from the
    lowest to the highest, and the mean is over those that have got that far.
    """
    logs = [log for log in logs if np.isfinite(log.get(name, np.nan)).any()]
    if not logs:
        return None
    x = np.unique(np.concatenate([log["iteration"] for log in logs]))
    values = np.array([placed(x, log, name) for log in logs])
    if len(logs) == 1:
        half = placed(x, logs[0], f"{name}_ci95")
        return Curve(x, values[0], values[0] - half, values[0] + half)
    count = np.isfinite(values).sum(axis=0)
    total = np.where(np.isfinite(values), values, 0).sum(axis=0)
    return Curve(x, quotient(total, count), np.fmin.reduce(values), np.fmax.reduce(values))


def quotient(total: Array, count: NDArray[np.int64]) -> Array:
    """The mean [point]; nan of none."""
    mean: Array = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
    return mean


def placed(x: Array, log: dict[str, Array], name: str) -> Array:
    """A log's column at the iterations x; nan where it has none, or none that is finite."""
    values = np.full(len(x), np.nan)
    if name in log:
        values[np.searchsorted(x, log["iteration"])] = np.where(np.isfinite(log[name]), log[name], np.nan)
    return values


def thinned(whole: Curve, most: int = MOST_POINTS) -> Curve:
    """At most so many points, each the mean of equally many consecutive ones."""
    each = -(-len(whole.x) // most)
    if each == 1:
        return whole
    return Curve(*(stretch_means(values, each) for values in (whole.x, whole.mean, whole.low, whole.high)))


def stretch_means(values: Array, each: int) -> Array:
    """The mean of every ``each`` consecutive values that are finite, the last of what remains; nan of none."""
    padded = np.full(-(-len(values) // each) * each, np.nan)
    padded[: len(values)] = values
    rows = padded.reshape(-1, each)
    known = np.isfinite(rows)
    return quotient(np.where(known, rows, 0).sum(axis=1), known.sum(axis=1))


def phase_seconds(group: Group) -> dict[str, float]:
    """The mean seconds of an iteration by phase, over all iterations of all runs; empty if there are no timings.

    A phase that not every iteration has, as the validation after an epoch, is spread over all of them.
    """
    spent = {
        phase: [second for log in group.timings for second in finite(log.get(seconds_column(phase)))]
        for phase in PHASES
    }
    iterations = sum(len(log.get("iteration", ())) for log in group.timings)
    return {phase: sum(seconds) / iterations for phase, seconds in spent.items() if seconds}


def finite(values: Array | None) -> list[float]:
    """The finite ones."""
    return [] if values is None else [float(value) for value in values[np.isfinite(values)]]


def mean(values: Sequence[float]) -> float:
    """nan of none."""
    return sum(values) / len(values) if values else np.nan
