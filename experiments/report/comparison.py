"""The table that sets the runs of a section side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from metarl.experiments.console.progress import clock_time, number
from metarl.experiments.report.drawing import typeset
from metarl.experiments.report.runs import Group, Run
from metarl.experiments.report.summaries import AnySummary, ImageSummary, Summary, combine, summarize, summarize_images
from metarl.experiments.report.task_returns import TaskReturns

Cell = tuple[str, str]  # a text and a smaller one below


@dataclass(frozen=True)
class Row:
    """A run, or the mean over a group's seeds."""

    name: str
    method: str
    seed: str
    group: int
    is_mean: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Column:
    """A field of the summaries, how it is shown, and the field with the interval around it, if it has one."""

    heading: str
    field: str
    show: Callable[[float], str]
    interval: str = ""


def percent(share: float) -> str:
    """With one digit."""
    return f"{100 * share:.1f} %"


def short(count: float) -> str:
    """Thousands and millions with three digits."""
    for unit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= unit:
            return f"{count / unit:.3g} {suffix}"
    return f"{count:.0f}"


def whole(count: float) -> str:
    """Without digits."""
    return f"{count:.0f}"


COSTS = (Column("time", "seconds", clock_time), Column("skipped", "skipped", lambda count: f"{count:.3g}"))
RETURNS = (
    Column("best return", "best", number),
    Column("return before", "before", number),
    Column("return after", "after", number),
)
UNSEEN = (
    Column("unseen tasks, before", "unseen_before", number),
    Column("unseen tasks, after", "unseen_after", number),
)
ACCURACIES = (
    Column("best validation accuracy", "best", percent, "best_ci95"),
    Column("in epoch", "best_epoch", whole),
    Column("last validation accuracy", "last", percent, "last_ci95"),
    Column("training accuracy before", "before", percent),
    Column("training accuracy after", "after", percent),
    *COSTS,
)


def policy_columns(has_unseen: bool) -> tuple[Column, ...]:
    """Of runs of reinforcement learning."""
    return (*RETURNS, *(UNSEEN if has_unseen else ()), Column("env steps", "env_steps", short), *COSTS)


def comparison(groups: Sequence[Group], evaluated: Mapping[str, TaskReturns]) -> tuple[list[str], list[Row]]:
    """The headings of the numbers, and the rows; ``evaluated`` has the runs with an evaluation by their names."""
    if groups[0].runs[0].is_about_images:
        lines = [
            row
            for index, group in enumerate(groups)
            for row in rows(group, index, [summarize_images(run) for run in group.runs], ACCURACIES)
        ]
        return ["epochs", *(column.heading for column in ACCURACIES)], lines
    columns = policy_columns(bool(evaluated))
    lines = [
        row
        for index, group in enumerate(groups)
        for row in rows(group, index, [summarize(run, unseen(evaluated, run)) for run in group.runs], columns)
    ]
    return ["iterations", *(column.heading for column in columns)], lines


def unseen(evaluated: Mapping[str, TaskReturns], run: Run) -> tuple[float, float]:
    """Mean returns before and after adaptation; nan if the run was not evaluated."""
    each = evaluated.get(run.name)
    return (float(each.returns[0].mean()), float(each.returns[-1].mean())) if each else (math.nan, math.nan)


def rows(group: Group, index: int, summaries: Sequence[AnySummary], columns: Sequence[Column]) -> list[Row]:
    """The mean over the seeds with their range, if there are several, then each run."""
    each = [
        Row(
            run.name,
            run.method,
            str(run.seed),
            index,
            False,
            ((done(run), ""), *(cell(summary, column) for column in columns)),
        )
        for run, summary in zip(group.runs, summaries, strict=True)
    ]
    if len(group.runs) == 1:
        return each
    shows = {"done": whole} | {column.field: column.show for column in columns}
    together = tuple(over_seeds(summaries, field, show) for field, show in shows.items())
    return [Row(group.label, group.runs[0].method, "mean", index, True, together), *each]


def done(run: Run) -> str:
    """How far a run has got."""
    return f"{run.done} of {run.length}" if run.done < run.length else str(run.done)


def cell(summary: Summary | ImageSummary, column: Column) -> Cell:
    """A number of one run, with its interval."""
    half = getattr(summary, column.interval) if column.interval else math.nan
    return text(getattr(summary, column.field), column.show), f"± {column.show(half)}" if math.isfinite(half) else ""


def over_seeds(summaries: Sequence[AnySummary], field: str, show: Callable[[float], str]) -> Cell:
    """The mean of a number, and its range."""
    mean, low, high = (text(getattr(each, field), show) for each in combine(summaries))
    return mean, f"{low} … {high}" if low != high else ""


def text(value: float, show: Callable[[float], str]) -> str:
    """A number as one reads it; empty where nothing is known."""
    return "" if math.isnan(value) else typeset(show(value))
