"""Charts of the returns that trained controllers reach on unseen tasks, by the values that tell the tasks apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from metarl.experiments.analysis.curves import line
from metarl.experiments.analysis.logs import Array
from metarl.experiments.analysis.style import COLORMAP, LIGHT, draw_curve, round_ticks, tick_format
from metarl.experiments.console.progress import number
from metarl.experiments.report.chart import Chart, Key, data_range, new_axes
from metarl.experiments.report.comparison import typeset
from metarl.experiments.report.runs import Group
from metarl.experiments.report.task_returns import TaskReturns
from metarl.policies.files.metadata import FieldRecord

BINS = 8  # of an axis, for the means
SHIFT = 0.02  # of the axis: how far dots before and after adaptation stand apart where a field has few values
MAP_SIZE = (490.0, 235.0)  # pixels
TIMES = ((0, "before"), (-1, "after"))  # row of the returns and color


def task_charts(groups: Sequence[Group], evaluated: Mapping[int, TaskReturns]) -> list[Chart]:
    """Chart the groups with an evaluation, by their numbers, all on one scale.

    Tasks of two fields are shown in the plane, colored by return; otherwise each field is an x axis.
    """
    span = data_range([each.returns[[0, -1]] for each in evaluated.values()])
    charts: list[Chart] = []
    for index, each in evaluated.items():
        name = "" if len(groups) == 1 else f", {groups[index].label}"
        if len(each.fields) == 2:
            charts.append(task_map(each, span, index, name))
        else:
            charts += [scatter(each, field, span, index, name) for field in range(len(each.fields))]
    return charts


def over_runs(found: Sequence[TaskReturns]) -> TaskReturns:
    """Return the mean over runs of the return on each task; all tasks side by side if the runs' tasks differ."""
    tasks = [each.tasks for each in found]
    returns = [each.returns for each in found]
    if all(np.array_equal(tasks[0], other) for other in tasks):
        return TaskReturns(found[0].fields, tasks[0], np.mean(returns, axis=0))
    return TaskReturns(found[0].fields, np.concatenate(tasks), np.concatenate(returns, axis=1))


def task_map(each: TaskReturns, span: tuple[float, float], group: int, name: str) -> Chart:
    """Draw the tasks in the plane of their two fields, colored by return, before and after adaptation.

    Args:
        each: The returns task by task.
        span: The lowest and the highest return of the color scale.
        group: The page's group that the chart is about.
        name: What the title adds.
    """
    x_field, y_field = each.fields
    figure, panels = new_axes(axis_label(x_field), axis_label(y_field), MAP_SIZE, columns=2)
    for axes, (step, when) in zip(panels, TIMES, strict=True):
        look: Any = {"cmap": COLORMAP, "vmin": span[0], "vmax": span[1], "edgecolors": LIGHT["ink"], "linewidths": 0.3}
        dots = axes.scatter(each.tasks[:, 0], each.tasks[:, 1], 24, each.returns[step], gid="dots|", **look)
        axes.set(xlim=bounds(x_field), ylim=bounds(y_field), box_aspect=1)
        axes.set_title(when, loc="right", color=LIGHT["ink"])
        axes.grid(False)
        axes.xaxis.set_major_locator(round_ticks(4))
    bar = figure.colorbar(dots, ax=panels, label="return", aspect=16)
    bar.outline.set_visible(False)
    bar.ax.yaxis.set_major_formatter(tick_format(float(np.abs(span).max())))
    return Chart(f"Return by task{name}", figure, group=group, titles=tooltips(each))


def scatter(each: TaskReturns, index: int, span: tuple[float, float], group: int, name: str) -> Chart:
    """Draw the returns before and after adaptation against one field, with their means along the axis.

    Args:
        each: The returns task by task.
        index: The position of the field in a task.
        span: The lowest and the highest return of the axis.
        group: The page's group that the chart is about.
        name: What the title adds.
    """
    field, values = each.fields[index], each.tasks[:, index]
    figure, (axes,) = new_axes(axis_label(field), "return")
    left, right = bounds(field)
    shift = SHIFT * (right - left) if field.choices else 0.0
    for (step, when), side in zip(TIMES, (-shift, shift), strict=True):
        look: Any = {"color": LIGHT[when], "s": 18, "alpha": 0.5, "linewidths": 0}
        axes.scatter(values + side, each.returns[step], gid="dots|", **look)
    for step, when in TIMES:
        draw_curve(axes, line(*means_along(field, values, each.returns[step])), when, when, linewidth=2.6)
    axes.set(xlim=(left, right), ylim=span)
    if field.choices:
        axes.set_xticks(sorted(field.choices))
    axes.yaxis.set_major_formatter(tick_format(float(np.abs(span).max())))
    legend = tuple(Key(f"{when} adaptation", when) for _, when in TIMES)
    return Chart(f"Return against {field.name}{name}", figure, legend, group=group, titles=tooltips(each))


def means_along(field: FieldRecord, values: Array, returns: Array) -> tuple[Array, Array]:
    """Return the choices of a field, or the centers of equal bins over its interval, and the mean return at each."""
    if field.choices:
        centers = np.array(sorted(field.choices))
        members = [values == choice for choice in centers]
    else:
        edges = np.linspace(field.low, field.high, BINS + 1)
        centers = (edges[1:] + edges[:-1]) / 2
        place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, BINS - 1)
        members = [place == bin for bin in range(BINS)]
    return centers, np.array([returns[chosen].mean() if chosen.any() else np.nan for chosen in members])


def bounds(field: FieldRecord) -> tuple[float, float]:
    """Return the interval that tasks are drawn from, with some room."""
    return data_range([], include=[field.low, field.high], margin=0.04)


def axis_label(field: FieldRecord) -> str:
    """Return the field's name and unit."""
    return f"{field.name} ({field.unit})" if field.unit else field.name


def tooltips(each: TaskReturns) -> tuple[str, ...]:
    """Return the tooltip of each task: its fields and its returns before and after adaptation."""
    names = [field.name for field in each.fields]
    told = []
    for task, returns in zip(each.tasks, each.returns[[0, -1]].T, strict=True):
        values = ", ".join(f"{name} {typeset(f'{value:.3g}')}" for name, value in zip(names, task, strict=True))
        before, after = (typeset(number(float(value))) for value in returns)
        told.append(f"{values}: {before} → {after}")
    return tuple(told)
