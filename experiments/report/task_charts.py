"""The charts of what trained controllers reach on unseen tasks, by the values that tell tasks apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from metarl.experiments.analysis.logs import Array
from metarl.experiments.console.progress import number
from metarl.experiments.report import drawing
from metarl.experiments.report.chart import Chart, Dot, Line
from metarl.experiments.report.colors import ColorBar, color, color_bar
from metarl.experiments.report.drawing import Frame, data_range, frame, typeset
from metarl.experiments.report.runs import Group
from metarl.experiments.report.task_returns import TaskReturns
from metarl.policies.files.metadata import FieldRecord

# A map's axes are equally long.
MAP_WIDTH = 320.0
MAP_HEIGHT = MAP_WIDTH - drawing.LEFT - drawing.RIGHT + drawing.TOP + drawing.BOTTOM
APART = 0.012  # of the axis: how far dots before and after adaptation stand apart where the task has few values


def task_charts(groups: Sequence[Group], evaluated: Mapping[int, TaskReturns]) -> tuple[list[Chart], ColorBar | None]:
    """Charts of the groups with an evaluation (by the group's index), all on one scale.

    Two values that tell tasks apart make maps before and after adaptation; otherwise each value is an x axis.
    """
    if not evaluated:
        return [], None
    shown = [each.returns[[0, -1]] for each in evaluated.values()]
    span = data_range(shown)
    charts: list[Chart] = []
    for index, each in evaluated.items():
        name = "" if len(groups) == 1 else f", {groups[index].label}"
        if len(each.fields) == 2:
            charts += maps(each, data_range(shown, margin=0), index, name)
        else:
            charts += [scatter(each, field, span, index, name) for field in range(len(each.fields))]
    if all(len(each.fields) != 2 for each in evaluated.values()):
        return charts, None
    low, high = (typeset(number(bound)) for bound in data_range(shown, margin=0))
    return charts, color_bar(low, high)


def over_runs(found: Sequence[TaskReturns]) -> TaskReturns:
    """Of several runs the mean return on each task; all tasks side by side if they are not the same ones."""
    tasks = [each.tasks for each in found]
    returns = [each.returns for each in found]
    if all(np.array_equal(tasks[0], other) for other in tasks):
        return TaskReturns(found[0].fields, tasks[0], np.mean(returns, axis=0))
    return TaskReturns(found[0].fields, np.concatenate(tasks), np.concatenate(returns, axis=1))


def maps(each: TaskReturns, span: tuple[float, float], group: int, name: str) -> list[Chart]:
    """The tasks in the plane of their two values, coloured by return, before and after adaptation."""
    x_field, y_field = each.fields
    scales = frame(bounds(x_field), bounds(y_field), MAP_WIDTH, MAP_HEIGHT)
    x, y = scales.x(each.tasks[:, 0]), scales.y(each.tasks[:, 1])
    charts = []
    for step, when in ((0, "Before"), (-1, "After")):
        shares = (each.returns[step] - span[0]) / (span[1] - span[0])
        dots = tuple(Dot(x[task], y[task], title(each, task), fill=color(shares[task])) for task in range(len(x)))
        heading = f"{when} adaptation{name}"
        labels = axis_label(x_field), axis_label(y_field)
        charts.append(Chart(heading, *labels, scales, dots=dots, group=group, width=MAP_WIDTH, height=MAP_HEIGHT))
    return charts


def scatter(each: TaskReturns, index: int, span: tuple[float, float], group: int, name: str) -> Chart:
    """Returns before and after adaptation against one value of the tasks, with their means along the axis."""
    field, values = each.fields[index], each.tasks[:, index]
    scales = frame(bounds(field), span, marks=field.choices)
    shift = APART * (scales.x.end - scales.x.start) if field.choices else 0.0
    dots: list[Dot] = []
    lines = []
    for step, when, side in ((0, "before", -shift), (-1, "after", shift)):
        x, y = scales.x(values) + side, scales.y(each.returns[step])
        dots += [Dot(x[task], y[task], title(each, task), tone=when) for task in range(len(x))]
        path = mean_path(field, values, each.returns[step], scales)
        lines.append(Line(f"{when} adaptation", when, group, path))
    heading = f"Return against {field.name}{name}"
    return Chart(heading, axis_label(field), "return", scales, tuple(lines), tuple(dots), legend=True, group=group)


def mean_path(field: FieldRecord, values: Array, returns: Array, scales: Frame) -> str:
    """The line through the means."""
    if field.choices:
        centres, means = drawing.choice_means(values, returns, sorted(field.choices))
    else:
        centres, means = drawing.bin_means(values, returns, field.low, field.high)
    return drawing.line_path(scales.x(centres), scales.y(means))


def bounds(field: FieldRecord) -> tuple[float, float]:
    """The interval that tasks are drawn from, with some room."""
    return data_range([], include=[field.low, field.high], margin=0.04)


def axis_label(field: FieldRecord) -> str:
    """Its name, and its unit."""
    return f"{field.name} ({field.unit})" if field.unit else field.name


def title(each: TaskReturns, task: int) -> str:
    """What a dot tells when one points at it."""
    values = ", ".join(f"{field.name} {value:.3g}" for field, value in zip(each.fields, each.tasks[task], strict=True))
    before, after = (typeset(number(float(value))) for value in each.returns[[0, -1], task])
    return f"{values}: {before} → {after}"
