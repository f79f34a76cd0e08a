"""Charts of how the image networks of a data set were trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from metarl.experiments.analysis.curves import chunk_means, curve
from metarl.experiments.analysis.logs import Array, rows_with
from metarl.experiments.analysis.style import series_color
from metarl.experiments.report.chart import LARGE, Chart, Series, curve_chart, data_range, extent
from metarl.experiments.report.runs import Group
from metarl.experiments.report.training_charts import skipped_chart
from metarl.images.logs import VALIDATION

BEFORE, AFTER = "accuracy_before", "accuracy_after"
MOST_POINTS = 100  # of a curve over meta-batches, which scatter: each point is the mean over a chunk of the training
PERCENT = "accuracy (%)"


def accuracy_charts(groups: Sequence[Group]) -> list[Chart]:
    """Chart accuracies in training and validation: of one group together, of several on one scale."""
    before, after, validation = (series_of(groups, name, 100) for name in (BEFORE, AFTER, VALIDATION))
    low, high = data_range(extent([*before, *after, *validation]))
    y_range = max(low, 0.0), min(high, 100.0)
    if len(groups) == 1:
        series = [
            *relabeled(before, "training, before adaptation", "before"),
            *relabeled(after, "training, after adaptation", "after"),
            *relabeled(validation, "validation, after adaptation", "c2"),
        ]
        return curve_chart("Accuracy", PERCENT, series, y_range=y_range, has_legend=True, size=LARGE)
    return [
        *curve_chart("Validation accuracy after adaptation", PERCENT, validation, y_range=y_range),
        *curve_chart("Training accuracy after adaptation", PERCENT, after, y_range=y_range),
        *curve_chart("Training accuracy before adaptation", PERCENT, before, y_range=y_range),
    ]


def descent_charts(groups: Sequence[Group]) -> list[Chart]:
    """Chart losses, learning rate and skipped updates of the outer optimizer."""
    before, after, rate = (series_of(groups, name) for name in ("loss_before", "loss_after", "learning_rate"))
    if len(groups) == 1:
        both = [*relabeled(before, "before adaptation", "before"), *relabeled(after, "after adaptation", "after")]
        losses = curve_chart("Loss on training tasks", "cross-entropy", both, include=[0], has_legend=True)
    else:
        losses = [
            *curve_chart("Training loss after adaptation", "cross-entropy", after, include=[0]),
            *curve_chart("Training loss before adaptation", "cross-entropy", before, include=[0]),
        ]
    return [*losses, *curve_chart("Learning rate", "learning rate", rate, include=[0]), *skipped_chart(groups)]


def series_of(groups: Sequence[Group], name: str, scale: float = 1.0) -> list[Series]:
    """Return one column of each group's logs, where there is one, multiplied by ``scale``.

    Each point is the mean over a chunk of the training, but those of the validation are as they were logged.
    """
    series = []
    for index, group in enumerate(groups):
        logs = [scaled(log, name, scale) for log in group.progress]
        if name != VALIDATION:
            longest = max((len(log["iteration"]) for log in logs if log), default=0)
            size = max(1, -(-longest // MOST_POINTS))
            logs = [{column: chunk_means(values, size) for column, values in log.items()} for log in logs]
        found = curve(logs, name)
        if found is not None:
            series.append(Series(group.label, series_color(index), index, found))
    return series


def scaled(log: dict[str, Array], name: str, scale: float) -> dict[str, Array]:
    """Return the rows in which a column has numbers: iterations, the scaled numbers and their intervals."""
    rows = rows_with(log, name)
    numbers = {column: scale * rows[column] for column in (name, f"{name}_ci95") if column in rows}
    return {"iteration": rows["iteration"]} | numbers if rows else {}


def relabeled(series: Sequence[Series], label: str, color: str) -> list[Series]:
    """Return the curves under another label and color."""
    return [replace(each, label=label, color=color) for each in series]
