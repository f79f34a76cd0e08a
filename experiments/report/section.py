"""What a report says about the runs of one task family, or one data set, as plain data for the template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from metarl.experiments.report.chart import Chart, tone
from metarl.experiments.report.colors import ColorBar
from metarl.experiments.report.comparison import Row, comparison
from metarl.experiments.report.curves import phase_seconds
from metarl.experiments.report.image_charts import accuracy_charts, descent_charts
from metarl.experiments.report.layer_charts import layer_charts
from metarl.experiments.report.runs import Group, Run, differences, group_runs, kind, shown
from metarl.experiments.report.summaries import LAST
from metarl.experiments.report.task_charts import over_runs, task_charts
from metarl.experiments.report.task_returns import TaskReturns
from metarl.experiments.report.training_charts import optimization_charts, return_charts, speed_chart
from metarl.rl.training import SELECTION_WINDOW


@dataclass(frozen=True)
class Bar:
    """The mean time of an iteration: phases with their seconds and their share, in percent, of the longest bar."""

    label: str
    group: int
    parts: tuple[tuple[str, str, float], ...]
    total: str


@dataclass(frozen=True)
class Section:
    """All about one family, or one data set."""

    topic: str
    groups: tuple[tuple[str, str, int], ...]  # label, tone, number of runs
    headings: tuple[str, ...]
    rows: tuple[Row, ...]
    legend: str  # what the numbers of the table are
    bands: str
    learning: tuple[Chart, ...]
    tasks: tuple[Chart, ...]
    unseen: int  # tasks in the evaluation
    averaged: bool  # over seeds
    color_bar: ColorBar | None
    optimization: tuple[Chart, ...]
    layers: tuple[Chart, ...]
    step_sizes: tuple[str, ...]  # sentences
    speed: tuple[Chart, ...]
    bars: tuple[Bar, ...]
    phases: tuple[str, ...]
    shared: tuple[tuple[str, str], ...]
    differing: tuple[tuple[str, tuple[str, ...]], ...]
    versions: tuple[str, ...]
    notes: tuple[str, ...]


def section(runs: Sequence[Run], evaluated: Mapping[str, TaskReturns], remarks: Sequence[str]) -> Section:
    """About runs of one topic; ``evaluated`` has those with an evaluation by their names."""
    groups, images = group_runs(runs), runs[0].is_about_images
    found = {
        index: [evaluated[run.name] for run in group.runs if run.name in evaluated]
        for index, group in enumerate(groups)
    }
    by_group = {index: over_runs(each) for index, each in found.items() if each}
    unseen = max((len(each.tasks) for each in by_group.values()), default=0)
    tasks, color_bar = task_charts(groups, by_group)
    headings, rows = comparison(groups, evaluated)
    layers, step_sizes = layer_charts(groups)
    bars = time_bars(groups)
    differing = differences([group.runs[0] for group in groups])
    return Section(
        topic=runs[0].topic,
        groups=tuple((group.label, tone(index), len(group.runs)) for index, group in enumerate(groups)),
        headings=tuple(headings),
        rows=tuple(rows),
        legend=image_legend() if images else legend(unseen),
        bands=image_bands(groups) if images else bands(groups, "an iteration"),
        learning=tuple(accuracy_charts(groups) if images else return_charts(groups)),
        tasks=tuple(tasks),
        unseen=unseen,
        averaged=any(len(each) > 1 for each in found.values()),
        color_bar=color_bar,
        optimization=tuple(descent_charts(groups) if images else optimization_charts(groups)),
        layers=tuple(layers),
        step_sizes=tuple(step_sizes),
        speed=() if images else tuple(speed_chart(groups)),
        bars=tuple(bars),
        phases=tuple(dict.fromkeys(phase for bar in bars for phase, _, _ in bar.parts)),
        shared=tuple((name, shown(value)) for name, value in kind(runs[0]).items() if name not in differing),
        differing=tuple(
            (name, tuple(shown(group.runs[0].settings.get(name)) for group in groups)) for name in differing
        ),
        versions=tuple(dict.fromkeys(", ".join(map(" ".join, run.versions.items())) for run in runs)),
        notes=(*(f"{run.name}: {note}" for run in runs for note in run.notes), *remarks),
    )


def legend(unseen: int) -> str:
    """What the table's returns are."""
    known = f" Unseen tasks: {unseen} that the controller was not trained on." if unseen else ""
    return (
        f"Returns before and after adaptation are means over the last {LAST} iterations. The best return is the "
        f"highest mean of {SELECTION_WINDOW} iterations in a row after adaptation, which selects the controller.{known}"
    )


def image_legend() -> str:
    """What the table's accuracies are."""
    return (
        "Validation accuracies are those after adaptation, with their 95 % intervals over tasks; training accuracies "
        "are means over the last complete epoch, before and after adaptation."
    )


def image_bands(groups: Sequence[Group]) -> str:
    """What the curves of accuracies show."""
    return (
        f"{bands(groups, 'the validation')} Curves of the training are means over consecutive iterations where they "
        "would have more than a hundred points."
    )


def bands(groups: Sequence[Group], of_what: str) -> str:
    """What the bands in the charts of learning show."""
    one = f"the 95 % interval over the tasks of {of_what}"
    several = "the range from the lowest to the highest seed, around their mean"
    counts = [len(group.runs) for group in groups]
    if max(counts) == 1:
        return f"Bands are {one}."
    if min(counts) > 1:
        return f"Bands are {several}."
    return f"Bands are {several}; of a single seed they are {one}."


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
