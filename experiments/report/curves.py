"""Numbers over the meta-iterations of a group of runs, and the numbers that sum up one run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from metarl.experiments.report.logs import Array
from metarl.experiments.report.runs import Group, Run
from metarl.run_folder import PHASES, column

LAST = 10
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

    def means(values: Array) -> Array:
        padded = np.full(-(-len(values) // each) * each, np.nan)
        padded[: len(values)] = values
        rows = padded.reshape(-1, each)
        count = np.isfinite(rows).sum(axis=1)
        total = np.nansum(rows, axis=1)
        return quotient(total, count)

    return Curve(means(whole.x), means(whole.mean), means(whole.low), means(whole.high))


def phase_seconds(group: Group) -> dict[str, float]:
    """The mean seconds of an iteration by phase, over all iterations of all runs; empty if there are no timings."""
    seconds = {}
    for phase in PHASES:
        values = [log[column(phase)] for log in group.timings if column(phase) in log]
        finite = np.concatenate(values) if values else np.array([])
        finite = finite[np.isfinite(finite)]
        if len(finite):
            seconds[phase] = float(finite.mean())
    return seconds


@dataclass(frozen=True)
class Summary:
    """What a run came to; nan where nothing is known. Returns at the end are means over the last iterations."""

    done: float = math.nan
    best: float = math.nan
    before: float = math.nan
    after: float = math.nan
    unseen_before: float = math.nan
    unseen_after: float = math.nan
    env_steps: float = math.nan
    seconds: float = math.nan
    skipped: float = math.nan


def summarize(run: Run, unseen: tuple[float, float] = (math.nan, math.nan)) -> Summary:
    """``unseen`` are the returns on unseen tasks before and after adaptation, where they are known."""
    spent = [run.timings[column(phase)] for phase in PHASES if column(phase) in run.timings]
    before, after = (finite(run.progress.get(f"return_{steps}")) for steps in (0, run.inner_steps))
    skipped = finite(run.progress.get("skipped"))
    return Summary(
        done=run.done,
        best=max(after, default=math.nan),
        before=mean(before[-LAST:]),
        after=mean(after[-LAST:]),
        unseen_before=unseen[0],
        unseen_after=unseen[1],
        env_steps=sum(finite(run.progress.get("env_steps"))) if run.done else math.nan,
        seconds=float(np.nansum(spent)) if spent else math.nan,
        skipped=skipped[-1] if skipped else math.nan,
    )


def combine(summaries: Sequence[Summary]) -> tuple[Summary, Summary, Summary]:
    """The mean, the lowest and the highest of each number, over the runs that have it."""
    columns = [
        [value for value in values if math.isfinite(value)] for values in zip(*map(astuple, summaries), strict=True)
    ]
    return (
        Summary(*map(mean, columns)),
        Summary(*(min(values, default=math.nan) for values in columns)),
        Summary(*(max(values, default=math.nan) for values in columns)),
    )


def finite(values: Array | None) -> list[float]:
    """The finite ones."""
    return [] if values is None else [float(value) for value in values[np.isfinite(values)]]


def mean(values: Sequence[float]) -> float:
    """nan of none."""
    return sum(values) / len(values) if values else math.nan
