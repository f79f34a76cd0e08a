"""What a report says about the runs of one task family, as plain data for the template."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass

from metarl.experiments.progress import clock_time, number
from metarl.experiments.report.chart import Chart, tone
from metarl.experiments.report.curves import Summary, combine, phase_seconds, summarize
from metarl.experiments.report.drawing import typeset
from metarl.experiments.report.runs import Group, Run, differences, group_runs, kind, shown
from metarl.experiments.report.task_charts import ColorBar, over_runs, task_charts
from metarl.experiments.report.task_returns import TaskReturns
from metarl.experiments.report.training_charts import (
    optimization_charts,
    return_charts,
    speed_chart,
    step_size_charts,
)


@dataclass(frozen=True)
class Row:
    """A line of the comparison: a run, or the mean over a group's seeds. A cell is a text and a smaller one below."""

    name: str
    method: str
    seed: str
    group: int
    is_mean: bool
    cells: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Bar:
    """The mean time of an iteration: phases with their seconds and their share, in percent, of the longest bar."""

    label: str
    group: int
    parts: tuple[tuple[str, str, float], ...]
    total: str


@dataclass(frozen=True)
class Section:
    """All about one family."""

    family: str
    groups: tuple[tuple[str, str, int], ...]  # label, tone, number of runs
    headings: tuple[str, ...]
    rows: tuple[Row, ...]
    bands: str
    returns: tuple[Chart, ...]
    tasks: tuple[Chart, ...]
    unseen: int  # tasks in the evaluation
    averaged: bool  # over seeds
    color_bar: ColorBar | None
    optimization: tuple[Chart, ...]
    fixed: tuple[str, ...]
    speed: tuple[Chart, ...]
    bars: tuple[Bar, ...]
    phases: tuple[str, ...]
    shared: tuple[tuple[str, str], ...]
    differing: tuple[tuple[str, tuple[str, ...]], ...]
    versions: tuple[str, ...]
    notes: tuple[str, ...]


def section(runs: Sequence[Run], evaluated: Mapping[str, TaskReturns], remarks: Sequence[str]) -> Section:
    """About runs of one family; ``evaluated`` has those with an evaluation by their names."""
    groups = group_runs(runs)
    found = {
        index: [evaluated[run.name] for run in group.runs if run.name in evaluated]
        for index, group in enumerate(groups)
    }
    by_group = {index: over_runs(each) for index, each in found.items() if each}
    tasks, color_bar = task_charts(groups, by_group)
    changing, fixed = step_size_charts(groups)
    bars = time_bars(groups)
    differing = differences([group.runs[0] for group in groups])
    return Section(
        family=runs[0].family,
        groups=tuple((group.label, tone(index), len(group.runs)) for index, group in enumerate(groups)),
        headings=headings(bool(by_group)),
        rows=tuple(row for index, group in enumerate(groups) for row in rows(group, index, evaluated)),
        bands=bands(groups),
        returns=tuple(return_charts(groups)),
        tasks=tuple(tasks),
        unseen=max((len(each.tasks) for each in by_group.values()), default=0),
        averaged=any(len(each) > 1 for each in found.values()),
        color_bar=color_bar,
        optimization=(*optimization_charts(groups), *changing),
        fixed=tuple(fixed),
        speed=tuple(speed_chart(groups)),
        bars=tuple(bars),
        phases=tuple(dict.fromkeys(phase for bar in bars for phase, _, _ in bar.parts)),
        shared=tuple((name, shown(value)) for name, value in kind(runs[0]).items() if name not in differing),
        differing=tuple(
            (name, tuple(shown(group.runs[0].settings.get(name)) for group in groups)) for name in differing
        ),
        versions=tuple(dict.fromkeys(", ".join(map(" ".join, run.versions.items())) for run in runs)),
        notes=(*(f"{run.name}: {note}" for run in runs for note in run.notes), *remarks),
    )


def bands(groups: Sequence[Group]) -> str:
    """What the bands in the charts of returns show."""
    one = "the 95 % interval over the tasks of an iteration"
    several = "the range from the lowest to the highest seed, around their mean"
    counts = [len(group.runs) for group in groups]
    if max(counts) == 1:
        return f"Bands are {one}."
    if min(counts) > 1:
        return f"Bands are {several}."
    return f"Bands are {several}; of a single seed they are {one}."


def headings(has_unseen: bool) -> tuple[str, ...]:
    """Of the comparison's numbers, in the order of ``cells``."""
    unseen = ("unseen tasks, before", "unseen tasks, after") if has_unseen else ()
    return ("iterations", "best return", "return before", "return after", *unseen, "env steps", "time", "skipped")


def rows(group: Group, index: int, evaluated: Mapping[str, TaskReturns]) -> list[Row]:
    """The mean over the seeds, if there are several, then each run."""
    summaries = [summarize(run, unseen_returns(evaluated.get(run.name))) for run in group.runs]
    each = [
        Row(run.name, run.method, str(run.seed), index, False, cells(summary, bool(evaluated), run.iterations))
        for run, summary in zip(group.runs, summaries, strict=True)
    ]
    if len(group.runs) == 1:
        return each
    mean, low, high = (cells(summary, bool(evaluated)) for summary in combine(summaries))
    together = tuple(
        (text, f"{least} … {most}" if least != most else "")
        for (text, _), (least, _), (most, _) in zip(mean, low, high, strict=True)
    )
    return [Row(group.label, group.runs[0].method, "mean", index, True, together), *each]


def unseen_returns(each: TaskReturns | None) -> tuple[float, float]:
    """Mean returns before and after adaptation."""
    if each is None:
        return math.nan, math.nan
    return float(each.returns[0].mean()), float(each.returns[-1].mean())


def cells(summary: Summary, has_unseen: bool, iterations: int | None = None) -> tuple[tuple[str, str], ...]:
    """The numbers as one reads them, in the order of ``headings``; empty where nothing is known."""
    done, best, before, after, unseen_before, unseen_after, env_steps, seconds, skipped = astuple(summary)
    unfinished = iterations is not None and done < iterations
    texts = [
        f"{done:g} of {iterations}" if unfinished else f"{done:.0f}",
        *map(number, (best, before, after, *((unseen_before, unseen_after) if has_unseen else ()))),
        short(env_steps),
        "nan" if math.isnan(seconds) else clock_time(seconds),
        f"{skipped:.3g}",
    ]
    return tuple(("" if text == "nan" else typeset(text), "") for text in texts)


def short(count: float) -> str:
    """Thousands and millions with three digits."""
    for unit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= unit:
            return f"{count / unit:.3g} {suffix}"
    return f"{count:.0f}"


def time_bars(groups: Sequence[Group]) -> list[Bar]:
    """A bar for each group that has timings."""
    spent = {index: phase_seconds(group) for index, group in enumerate(groups)}
    longest = max((sum(phases.values()) for phases in spent.values()), default=0.0)
    return [
        Bar(
            groups[index].label,
            index,
            tuple((phase, f"{seconds:.3g} s", 100 * seconds / longest) for phase, seconds in phases.items()),
            f"{sum(phases.values()):.3g} s",
        )
        for index, phases in spent.items()
        if phases and longest > 0
    ]
