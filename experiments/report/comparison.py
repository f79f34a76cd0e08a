"""The table that compares the runs of a section."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from metarl.experiments.analysis.curves import finite, mean
from metarl.experiments.console.progress import clock_time, number
from metarl.experiments.report.runs import Group, Run
from metarl.experiments.report.task_returns import TaskReturns
from metarl.experiments.report.time_charts import PHASES
from metarl.images.logs import VALIDATION
from metarl.rl.training import selection_scores
from metarl.runs.logs import seconds_column

LAST = 10  # iterations that the returns of the table are means over
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
    """A number of a run, nan where it is not known; how it is written; and what is written below it."""

    heading: str
    value: Callable[[Run], float]
    show: Callable[[float], str] = number
    below: Callable[[Run], str] = lambda run: ""


def comparison(groups: Sequence[Group], evaluated: Mapping[str, TaskReturns]) -> tuple[list[str], list[Row]]:
    """Return the headings of the numbers, and the rows; ``evaluated`` has the evaluations of runs by their names."""
    columns = image_columns() if groups[0].runs[0].is_on_images else policy_columns(evaluated)
    lines = [row for index, group in enumerate(groups) for row in rows(group, index, columns)]
    return [each.heading for each in columns], lines


def policy_columns(evaluated: Mapping[str, TaskReturns]) -> list[Column]:
    """Return the columns of runs of reinforcement learning."""
    columns = [
        Column("iterations", lambda run: run.done, whole, of_length),
        Column("best return", lambda run: max(selection_scores(returns(run, run.inner_steps)), default=math.nan)),
        Column("return before", lambda run: mean(returns(run, 0)[-LAST:])),
        Column("return after", lambda run: mean(returns(run, run.inner_steps)[-LAST:])),
    ]
    if evaluated:
        columns += [
            Column("unseen tasks, before", lambda run: unseen(evaluated, run, 0)),
            Column("unseen tasks, after", lambda run: unseen(evaluated, run, -1)),
        ]
    return [*columns, Column("env steps", env_steps, short), *COSTS]


def image_columns() -> list[Column]:
    """Return the columns of runs on images."""

    def best(run: Run) -> int:
        scores = run.epochs.get(VALIDATION, ())
        return int(np.argmax(scores)) if len(scores) else -1

    interval = f"{VALIDATION}_ci95"
    return [
        Column("epochs", lambda run: run.done, whole, of_length),
        Column(
            "best validation accuracy",
            lambda run: at(run.epochs, best(run), VALIDATION),
            percent,
            lambda run: plus_minus(at(run.epochs, best(run), interval)),
        ),
        Column("in epoch", lambda run: at(run.epochs, best(run), "epoch"), whole),
        Column(
            "last validation accuracy",
            lambda run: at(run.epochs, -1, VALIDATION),
            percent,
            lambda run: plus_minus(at(run.epochs, -1, interval)),
        ),
        Column("training accuracy before", lambda run: last_epoch(run, "accuracy_before"), percent),
        Column("training accuracy after", lambda run: last_epoch(run, "accuracy_after"), percent),
        *COSTS,
    ]


def of_length(run: Run) -> str:
    """Return how many iterations or epochs were asked for, if they are not done yet."""
    return f"of {run.length}" if run.done < run.length else ""


def plus_minus(half: float) -> str:
    """Return half an interval of accuracies, if it is known."""
    return "" if math.isnan(half) else f"± {percent(half)}"


def returns(run: Run, steps: int) -> list[float]:
    """Return the logged returns after an inner step."""
    return finite(run.progress.get(f"return_{steps}"))


def unseen(evaluated: Mapping[str, TaskReturns], run: Run, step: int) -> float:
    """Return the mean return on unseen tasks after an inner step; nan if the run was not evaluated."""
    return float(evaluated[run.name].returns[step].mean()) if run.name in evaluated else math.nan


def env_steps(run: Run) -> float:
    """Return the environment steps of all iterations."""
    return sum(finite(run.progress.get("env_steps"))) if run.done else math.nan


def at(log: Mapping[str, np.ndarray], row: int, name: str) -> float:
    """Return a number of a log; nan if the log has no rows or no such column."""
    return float(log[name][row]) if len(log.get(name, ())) else math.nan


def last_epoch(run: Run, name: str) -> float:
    """Return the mean of a column over the last complete epoch, or over the first if none is complete."""
    in_last = run.progress.get("epoch", np.array([])) == max(run.done, 1)
    return mean(finite(run.progress[name][in_last])) if name in run.progress else math.nan


def seconds(run: Run) -> float:
    """Return the seconds of all phases; nan if there are no timings."""
    spent = [run.timings[seconds_column(phase)] for phase in PHASES if seconds_column(phase) in run.timings]
    return float(np.nansum(spent)) if spent else math.nan


def skipped(run: Run) -> float:
    """Return how many updates were skipped."""
    return ([math.nan, *finite(run.progress.get("skipped"))])[-1]


def rows(group: Group, index: int, columns: Sequence[Column]) -> list[Row]:
    """Return a row for each run of a group, below the mean over the seeds with their range if there are several."""
    each = []
    for run in group.runs:
        cells = tuple((text(column.value(run), column.show), column.below(run)) for column in columns)
        each.append(Row(run.name, run.method, str(run.seed), index, False, cells))
    if len(group.runs) == 1:
        return each
    together = tuple(over_seeds([column.value(run) for run in group.runs], column.show) for column in columns)
    return [Row(group.label, group.runs[0].method, "mean", index, True, together), *each]


def over_seeds(values: Sequence[float], show: Callable[[float], str]) -> Cell:
    """Return the mean of a number over the seeds that have it and, below, its range."""
    known = [value for value in values if math.isfinite(value)]
    low, high = (text(end, show) for end in (min(known, default=math.nan), max(known, default=math.nan)))
    return text(mean(known), show), f"{low} … {high}" if low != high else ""


def text(value: float, show: Callable[[float], str]) -> str:
    """Return a number as text, empty where it is not known."""
    return "" if math.isnan(value) else typeset(show(value))


def typeset(number: str) -> str:
    """Return a number with a minus sign in place of the hyphen."""
    return number.replace("-", "\N{MINUS SIGN}")


def percent(share: float) -> str:
    """Return a share in percent with one digit."""
    return f"{100 * share:.1f} %"


def whole(count: float) -> str:
    """Return a count without digits."""
    return f"{count:.0f}"


def short(count: float) -> str:
    """Return a count in thousands, millions or billions with three digits."""
    for unit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= unit:
            return f"{count / unit:.3g} {suffix}"
    return f"{count:.0f}"


COSTS = (Column("time", seconds, clock_time), Column("skipped", skipped, lambda count: f"{count:.3g}"))
