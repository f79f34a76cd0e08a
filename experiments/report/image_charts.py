"""The charts of what happened while the groups of a data set were trained on images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from metarl.experiments.analysis.logs import Array, rows_with
from metarl.experiments.report.chart import LARGE, Chart, Member, extent, line_chart, tone
from metarl.experiments.report.curves import curve, finite, stretch_means
from metarl.experiments.report.drawing import data_range
from metarl.experiments.report.runs import Group
from metarl.images.logs import VALIDATION

BEFORE, AFTER = "accuracy_before", "accuracy_after"
MOST_POINTS = 100  # single meta-batches scatter: their means over as many stretches of the training are drawn
PERCENT = "accuracy (%)"


def accuracy_charts(groups: Sequence[Group]) -> list[Chart]:
    """Accuracies in training and validation: of one group in one chart, of several in a chart each, on one scale."""
    before, after, validation = (members_of(groups, name, 100) for name in (BEFORE, AFTER, VALIDATION))
    if len(groups) == 1:
        members = [
            *relabelled(before, "training, before adaptation", "before"),
            *relabelled(after, "training, after adaptation", "after"),
            *relabelled(validation, "validation, after adaptation", "c2"),
        ]
        return line_chart("Accuracy", PERCENT, members, legend=True, size=LARGE)
    y_range = data_range(extent([*before, *after, *validation]))
    return [
        *line_chart("Validation accuracy after adaptation", PERCENT, validation, y_range=y_range),
        *line_chart("Training accuracy after adaptation", PERCENT, after, y_range=y_range),
        *line_chart("Training accuracy before adaptation", PERCENT, before, y_range=y_range),
    ]


def descent_charts(groups: Sequence[Group]) -> list[Chart]:
    """What the outer optimizer did: losses, learning rate, skipped updates."""
    before, after = (members_of(groups, name) for name in ("loss_before", "loss_after"))
    rate, skipped = members_of(groups, "learning_rate", 1000), members_of(groups, "skipped")
    counts = [number for group in groups for log in group.progress for number in finite(log.get("skipped"))]
    has_skipped = max(counts, default=0) > 0
    note = "No update was skipped." if counts and not has_skipped else ""
    if len(groups) == 1:
        both = [
            *relabelled(before, "before adaptation", "before"),
            *relabelled(after, "after adaptation", "after"),
        ]
        losses = line_chart("Loss on training tasks", "cross-entropy", both, include=[0], legend=True, note=note)
    else:
        losses = [
            *line_chart("Training loss after adaptation", "cross-entropy", after, include=[0], note=note),
            *line_chart("Training loss before adaptation", "cross-entropy", before, include=[0]),
        ]
    return [
        *losses,
        *line_chart("Learning rate", "learning rate / 0.001", rate, include=[0]),
        *(line_chart("Updates skipped so far", "updates", skipped, include=[0], counts=True) if has_skipped else []),
    ]


def members_of(groups: Sequence[Group], name: str, scale: float = 1.0) -> list[Member]:
    """One column of each group's logs, where there is one, as a multiple of 1 / ``scale``.

    Of what each iteration logs the means of stretches, of the validation all points.
    """
    members = []
    for index, group in enumerate(groups):
        logs = [scaled(log, name, scale) for log in group.progress]
        if name != VALIDATION:
            longest = max((len(log["iteration"]) for log in logs if log), default=0)
            each = max(1, -(-longest // MOST_POINTS))
            logs = [{column: stretch_means(values, each) for column, values in log.items()} for log in logs]
        found = curve(logs, name)
        if found is not None:
            members.append(Member(group.label, tone(index), index, found))
    return members


def scaled(log: dict[str, Array], name: str, scale: float) -> dict[str, Array]:
    """The rows in which a column has numbers: its iterations, its numbers and their intervals."""
    rows = rows_with(log, name)
    numbers = {column: scale * rows[column] for column in (name, f"{name}_ci95") if column in rows}
    return {"iteration": rows["iteration"]} | numbers if rows else {}


def relabelled(members: Sequence[Member], label: str, name: str) -> list[Member]:
    """The curves under another label and colour."""
    return [replace(member, label=label, tone=name) for member in members]
