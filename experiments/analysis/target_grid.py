"""Returns before and after adaptation on an even grid of targets: as a table, as a record and as a plot."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from rich.table import Table

from metarl.core.text import plural
from metarl.envs.family import TaskFamily
from metarl.experiments.analysis.curves import Curve
from metarl.experiments.analysis.plots import DOTS_PER_INCH
from metarl.experiments.analysis.style import STYLE, draw_curve
from metarl.experiments.console.progress import number
from metarl.rl.evaluation import Evaluation


def grid_table(evaluation: Evaluation, family: TaskFamily) -> Table:
    """Return a row for each target: its returns with their 95 % intervals over episodes, and what adaptation did."""
    title = f"{family.name}, {plural(len(evaluation.tasks), 'target')}, {plural(evaluation.episodes, 'episode')} each"
    table = Table(title=title)
    for heading in (family.fields[0].name, "return before", "after adaptation", "made worse"):
        table.add_column(heading, justify="right")
    for row in grid_records(evaluation, family):
        before, after = (f"{number(row[key])} ± {number(row[f'{key}_ci95'])}" for key in ("before", "after"))
        table.add_row(f"{row['target']:.3g}", before, after, "yes" if row["worse"] else "")
    return table


def grid_records(evaluation: Evaluation, family: TaskFamily) -> list[dict[str, Any]]:
    """Return a record for each target: the returns, half the widths of their intervals, and whether it got worse."""
    widths, worse = evaluation.ci95(), evaluation.worsened()
    return [
        {
            "target": float(task[0]),
            "before": float(evaluation.returns[0, index]),
            "before_ci95": float(widths[0, index]),
            "after": float(evaluation.returns[-1, index]),
            "after_ci95": float(widths[-1, index]),
            "worse": bool(worse[index]),
        }
        for index, task in enumerate(evaluation.tasks)
    ]


def grid_plot(evaluation: Evaluation, family: TaskFamily, title: str) -> Figure:
    """Plot the returns over the targets, before and after adaptation, with their intervals as bands."""
    (field,) = family.fields
    widths = evaluation.ci95().numpy()
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 4), dpi=DOTS_PER_INCH)
        axes = figure.subplots()
        for step, color in ((0, "before"), (-1, "after")):
            mean, half = evaluation.returns[step].numpy(), np.nan_to_num(widths[step])
            points = Curve(evaluation.tasks[:, 0], mean, mean - half, mean + half)
            draw_curve(axes, points, color, f"{color} adaptation")
        axes.set(title=title, ylabel="return", xlabel=f"{field.name} [{field.unit}]" if field.unit else field.name)
        axes.legend(loc="best")
    return figure
