"""What a report says about the runs of one task family or one data set, as data for the template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib import rc_context

from metarl.experiments.analysis.style import series_color
from metarl.experiments.report.chart import SVG_STYLE, Chart
from metarl.experiments.report.comparison import LAST, Row, comparison
from metarl.experiments.report.image_charts import accuracy_charts, descent_charts
from metarl.experiments.report.layer_charts import layer_charts
from metarl.experiments.report.runs import Group, Run, differences, group_runs, kind, shown
from metarl.experiments.report.task_charts import over_runs, task_charts
from metarl.experiments.report.task_returns import TaskReturns
from metarl.experiments.report.time_charts import time_chart
from metarl.experiments.report.training_charts import optimization_charts, return_charts, speed_chart
from metarl.rl.training import SELECTION_WINDOW

IMAGE_LEGEND = (
    "Validation accuracies are those after adaptation, with their 95 % intervals over tasks; training accuracies are "
    "means over the last complete epoch, before and after adaptation."
)


@dataclass(frozen=True)
class Part:
    """Charts under a heading, after some sentences."""

    heading: str
    sentences: tuple[str, ...]
    charts: tuple[Chart, ...]


@dataclass(frozen=True)
class Section:
    """Everything about one family or one data set."""

    topic: str
    groups: tuple[tuple[str, str, int], ...]  # label, color, number of runs
    headings: tuple[str, ...]
    rows: tuple[Row, ...]
    legend: str  # of the table
    parts: tuple[Part, ...]
    shared: tuple[tuple[str, str], ...]  # settings
    differing: tuple[tuple[str, tuple[str, ...]], ...]  # settings, a value for each group
    versions: tuple[str, ...]
    notes: tuple[str, ...]


def section(runs: Sequence[Run], evaluated: Mapping[str, TaskReturns], remarks: Sequence[str]) -> Section:
    """Return the section about runs of one topic.

    Args:
        runs: the runs.
        evaluated: the evaluations of those that have one, by their names.
        remarks: sentences on runs that could not be evaluated.
    """
    groups = group_runs(runs)
    headings, rows = comparison(groups, evaluated)
    with rc_context(SVG_STYLE):
        parts = image_parts(groups) if runs[0].is_on_images else policy_parts(groups, evaluated)
    differing = differences([group.runs[0] for group in groups])
    return Section(
        topic=runs[0].topic,
        groups=tuple((group.label, series_color(index), len(group.runs)) for index, group in enumerate(groups)),
        headings=tuple(headings),
        rows=tuple(rows),
        legend=IMAGE_LEGEND if runs[0].is_on_images else legend(evaluated),
        parts=tuple(part for part in parts if part.charts or part.sentences),
        shared=tuple((name, shown(value)) for name, value in kind(runs[0]).items() if name not in differing),
        differing=tuple(
            (name, tuple(shown(group.runs[0].settings.get(name)) for group in groups)) for name in differing
        ),
        versions=tuple(dict.fromkeys(", ".join(map(" ".join, run.versions.items())) for run in runs)),
        notes=(*(f"{run.name}: {note}" for run in runs for note in run.notes), *remarks),
    )


def policy_parts(groups: Sequence[Group], evaluated: Mapping[str, TaskReturns]) -> list[Part]:
    """Return what is charted about runs of reinforcement learning."""
    layers, sentences = layer_charts(groups)
    return [
        learning_part(bands(groups, "an iteration"), return_charts(groups)),
        unseen_part(groups, evaluated),
        Part("Optimization", no_skipped(groups), tuple(optimization_charts(groups))),
        Part("Layers", tuple(sentences), tuple(layers)),
        Part("Time", (), (*time_chart(groups), *speed_chart(groups))),
    ]


def image_parts(groups: Sequence[Group]) -> list[Part]:
    """Return what is charted about runs on images."""
    layers, sentences = layer_charts(groups)
    shown_as = "Training curves of more than a hundred points are means over consecutive iterations."
    return [
        learning_part(f"{bands(groups, 'the validation')} {shown_as}", accuracy_charts(groups)),
        Part("Optimization", no_skipped(groups), tuple(descent_charts(groups))),
        Part("Layers", tuple(sentences), tuple(layers)),
        Part("Time", (), tuple(time_chart(groups))),
    ]


def learning_part(sentence: str, charts: Sequence[Chart]) -> Part:
    """Return the charts of learning, nothing where nothing has been learned."""
    return Part("Learning", (sentence,) if charts else (), tuple(charts))


def unseen_part(groups: Sequence[Group], evaluated: Mapping[str, TaskReturns]) -> Part:
    """Return the charts of the evaluation, each group's over its seeds."""
    found = {
        index: [evaluated[run.name] for run in group.runs if run.name in evaluated]
        for index, group in enumerate(groups)
    }
    charts = task_charts(groups, {index: over_runs(each) for index, each in found.items() if each})
    if not charts:
        return Part("Unseen tasks", (), ())
    averaged = ", its return the mean over the seeds" if any(len(each) > 1 for each in found.values()) else ""
    lines = "; lines are means along the axis" if charts[0].legend else ""
    sentence = f"The controllers kept, adapted to unseen tasks. Each dot is a task{averaged}{lines}."
    return Part("Unseen tasks", (sentence,), tuple(charts))


def no_skipped(groups: Sequence[Group]) -> tuple[str, ...]:
    """Say that no update was skipped, if that is known."""
    counts = [log["skipped"].max(initial=0) for group in groups for log in group.progress if "skipped" in log]
    return ("No update was skipped.",) if counts and max(counts) == 0 else ()


def legend(evaluated: Mapping[str, TaskReturns]) -> str:
    """Say what the returns of the table are."""
    unseen = max((len(each.tasks) for each in evaluated.values()), default=0)
    known = f" Unseen tasks: {unseen} that the controller was not trained on." if unseen else ""
    return (
        f"Returns before and after adaptation are means over the last {LAST} iterations. The best return is the "
        f"highest mean of {SELECTION_WINDOW} iterations in a row after adaptation, which selects the controller.{known}"
    )


def bands(groups: Sequence[Group], of_what: str) -> str:
    """Say what the bands in the charts of learning are."""
    one = f"the 95 % interval over the tasks of {of_what}"
    several = "the range from the lowest to the highest seed, around their mean"
    counts = [len(group.runs) for group in groups]
    if max(counts) == 1:
        return f"Bands are {one}."
    if min(counts) > 1:
        return f"Bands are {several}."
    return f"Bands are {several}; of a single seed they are {one}."
