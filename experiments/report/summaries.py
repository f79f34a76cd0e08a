"""The numbers that sum up one run, and those of several together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import TypeVar

import numpy as np

from metarl.experiments.report.curves import PHASES, finite, mean
from metarl.experiments.report.runs import Run
from metarl.images.logs import VALIDATION
from metarl.rl.training import selection_scores
from metarl.runs.logs import seconds_column

LAST = 10


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
    before, after = (finite(run.progress.get(f"return_{steps}")) for steps in (0, run.inner_steps))
    skipped = finite(run.progress.get("skipped"))
    return Summary(
        done=run.done,
        best=max(selection_scores(after), default=math.nan),
        before=mean(before[-LAST:]),
        after=mean(after[-LAST:]),
        unseen_before=unseen[0],
        unseen_after=unseen[1],
        env_steps=sum(finite(run.progress.get("env_steps"))) if run.done else math.nan,
        seconds=seconds_of(run),
        skipped=skipped[-1] if skipped else math.nan,
    )


@dataclass(frozen=True)
class ImageSummary:
    """What a run on images came to; nan where nothing is known.

    Accuracies are shares. Those on the tasks of the training are means over the last epoch that is complete.
    """

    done: float = math.nan
    best: float = math.nan  # of the validation, after adaptation
    best_ci95: float = math.nan
    best_epoch: float = math.nan
    last: float = math.nan
    last_ci95: float = math.nan
    before: float = math.nan
    after: float = math.nan
    seconds: float = math.nan
    skipped: float = math.nan


def summarize_images(run: Run) -> ImageSummary:
    """The accuracies of the best epoch and of the last one, and the costs."""
    epochs, skipped = run.epochs, finite(run.progress.get("skipped"))
    scores = epochs.get(VALIDATION, np.array([]))
    best = int(np.argmax(scores)) if len(scores) else -1

    def at(row: int, name: str) -> float:
        return float(epochs[name][row]) if len(scores) and name in epochs else math.nan

    in_last = run.progress.get("epoch", np.array([])) == max(run.done, 1)
    before, after = (
        mean(finite(run.progress[name][in_last])) if name in run.progress else math.nan
        for name in ("accuracy_before", "accuracy_after")
    )
    return ImageSummary(
        done=run.done,
        best=at(best, VALIDATION),
        best_ci95=at(best, f"{VALIDATION}_ci95"),
        best_epoch=at(best, "epoch"),
        last=at(-1, VALIDATION),
        last_ci95=at(-1, f"{VALIDATION}_ci95"),
        before=before,
        after=after,
        seconds=seconds_of(run),
        skipped=skipped[-1] if skipped else math.nan,
    )


def seconds_of(run: Run) -> float:
    """What all phases took together; nan if there are no timings."""
    spent = [run.timings[seconds_column(phase)] for phase in PHASES if seconds_column(phase) in run.timings]
    return float(np.nansum(spent)) if spent else math.nan


AnySummary = TypeVar("AnySummary", bound=Summary | ImageSummary)


def combine(summaries: Sequence[AnySummary]) -> tuple[AnySummary, AnySummary, AnySummary]:
    """The mean, the lowest and the highest of each number, over the runs that have it."""
    columns = [
        [value for value in values if math.isfinite(value)] for values in zip(*map(astuple, summaries), strict=True)
    ]
    make = type(summaries[0])
    return (
        make(*map(mean, columns)),
        make(*(min(values, default=math.nan) for values in columns)),
        make(*(max(values, default=math.nan) for values in columns)),
    )
