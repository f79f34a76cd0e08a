"""The charts of what each layer does while the groups are trained: its step sizes, and the channels it keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from metarl.experiments.analysis.logs import Array, rows_with
from metarl.experiments.report.chart import Chart, Member, extent, line_chart, tone
from metarl.experiments.report.curves import Curve, curve
from metarl.experiments.report.drawing import data_range
from metarl.experiments.report.heat_map import heat_map
from metarl.experiments.report.runs import Group, Run

MOST_CURVES = 9  # that can be told apart in one chart
NORM = "norm"  # in the names of layers that normalise


class Quantity(NamedTuple):
    """A number of each layer in each inner step, logged as ``PREFIX LAYER _ STEP``."""

    prefix: str
    title: str
    label: str
    include: tuple[float, ...]


STEP_SIZES = Quantity("step_size_", "Step sizes", "step size", (0.0,))
KEPT = (
    Quantity("kept_input_", "Kept input channels", "share of channels", (0.0, 1.0)),
    Quantity("kept_output_", "Kept output channels", "share of channels", (0.0, 1.0)),
)


def layer_charts(groups: Sequence[Group]) -> tuple[list[Chart], list[str]]:
    """For each group its charts, each kind on one scale; and a sentence about the step sizes of each."""
    by_group: dict[int, list[Chart]] = {index: [] for index in range(len(groups))}
    sentences = []
    for quantity in (STEP_SIZES, *KEPT):
        found = {index: members_of(group, index, quantity) for index, group in enumerate(groups)}
        if quantity is STEP_SIZES:
            fixed = {index for index, members in found.items() if are_fixed(members)}
            sentences = [
                fixed_step_sizes(group, found[index]) if index in fixed else adapting(group)
                for index, group in enumerate(groups)
                if found[index]
            ]
            found = {index: members for index, members in found.items() if index not in fixed}
        charts = layer_charts_of(groups, quantity, {index: members for index, members in found.items() if members})
        for index, chart in charts.items():
            by_group[index].append(chart)
    return [chart for charts_of_group in by_group.values() for chart in charts_of_group], sentences


def layer_charts_of(groups: Sequence[Group], quantity: Quantity, found: Mapping[int, list[Member]]) -> dict[int, Chart]:
    """A chart for each group, all on one scale; curves where they can be told apart, else colours."""
    values = extent([member for members in found.values() for member in members])
    charts = {}
    for index, members in found.items():
        group = groups[index]
        title = quantity.title if len(groups) == 1 else f"{quantity.title}, {group.label}"
        is_mean = group.inner_steps > 1 and not any(", step " in member.label for member in members)
        note = "Means over the inner steps." if is_mean else ""
        if len(members) > MOST_CURVES:
            span = data_range(values, quantity.include, margin=0)
            charts[index] = heat_map(title, quantity.label, members, span, group=index, note=note)
        else:
            span = data_range(values, quantity.include)
            (charts[index],) = line_chart(
                title, quantity.label, members, y_range=span, legend=True, group=index, note=note
            )
    return charts


def members_of(group: Group, index: int, quantity: Quantity) -> list[Member]:
    """A curve for each layer and inner step; of more than can be told apart, the layers' means over the inner steps.

    Curves of later inner steps are dashed. So are those of normalisations among means, in the colour of the layer
    before.
    """
    layers = columns_of(group.progress, quantity.prefix)
    columns = [column for steps in layers.values() for column in steps]
    logs = [rows_with(log, *columns) for log in group.progress]
    tones = tones_of(list(layers))
    members = []
    if len(columns) <= MOST_CURVES:
        for layer, steps in layers.items():
            for column in steps:
                step = column.rpartition("_")[2]
                label = layer if group.inner_steps == 1 else f"{layer}, step {step}"
                found = curve(logs, column)
                if found is not None:
                    members.append(Member(label, tones[layer], index, found, dashed=step != "1"))
        return members
    means = [means_over_steps(log, layers) for log in logs]
    for layer in layers:
        found = curve(means, layer)
        if found is not None:
            members.append(Member(layer, tones[layer], index, without_band(found), dashed=NORM in layer))
    return members


def without_band(whole: Curve) -> Curve:
    """Of many curves the bands hide each other."""
    none = np.full(len(whole.x), np.nan)
    return Curve(whole.x, whole.mean, none, none)


def columns_of(logs: Sequence[Mapping[str, Array]], prefix: str) -> dict[str, list[str]]:
    """The columns of each layer, one for each inner step."""
    layers: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for log in logs for name in log if name.startswith(prefix)):
        layers.setdefault(name.removeprefix(prefix).rpartition("_")[0], []).append(name)
    return layers


def tones_of(layers: Sequence[str]) -> dict[str, str]:
    """A colour for each layer; a normalisation has that of the layer before."""
    tones: dict[str, str] = {}
    others = 0
    for layer in layers:
        others += NORM not in layer
        tones[layer] = tone(max(0, others - 1))
    return tones


def means_over_steps(log: Mapping[str, Array], layers: Mapping[str, list[str]]) -> dict[str, Array]:
    """The log's iterations, and by layer the mean of its columns, where the log has them."""
    means = {layer: [log[column] for column in steps if column in log] for layer, steps in layers.items()}
    return {name: log[name] for name in ("iteration",) if name in log} | {
        layer: np.mean(values, axis=0) for layer, values in means.items() if values
    }


def are_fixed(members: Sequence[Member]) -> bool:
    """Whether there are curves, of more than a point, and none of them changes."""
    means = [member.curve.mean[np.isfinite(member.curve.mean)] for member in members]
    return any(len(mean) > 1 for mean in means) and all(np.ptp(mean) == 0 for mean in means)


def fixed_step_sizes(group: Group, members: Sequence[Member]) -> str:
    """Layers by the step size that they keep: ``0.1 in layer1, layer2; 0 in layer3``."""
    by_size: dict[str, dict[str, None]] = {}
    for member in members:
        layer = member.label.partition(", step ")[0]
        by_size.setdefault(f"{np.nanmean(member.curve.mean):.4g}", {})[layer] = None
    names = {size: ", ".join(layers) if len(by_size) > 1 else "all layers" for size, layers in by_size.items()}
    told = "; ".join(f"{size} in {layers}" for size, layers in names.items())
    return f"Fixed step sizes of {group.label}: {told}."


def adapting(group: Group) -> str:
    """Which layers have a step size other than zero in some inner step of the last logged row."""
    adapted = [layers for layers in map(last_adapted, group.runs) if layers]
    counts = {layer: sum(layers[layer] for layers in adapted if layer in layers) for layer in adapted[0]}
    some = [layer for layer, count in counts.items() if count]
    names = [
        layer if counts[layer] == len(adapted) else f"{layer} ({counts[layer]} of {len(adapted)} seeds)"
        for layer in some
    ]
    which = f"{', '.join(names)}: {len(some)} of {len(counts)} layers"
    if len(some) == len(counts) and names == some:
        which = f"all {len(counts)} layers"
    when = "At the end of its training" if all(run.done >= run.length for run in group.runs) else "So far"
    return f"{when} {group.label} adapts {which if some else 'no layer'}."


def last_adapted(run: Run) -> dict[str, bool]:
    """By layer, whether any of its last step sizes differs from zero; empty if there are none."""
    layers = columns_of([run.progress], STEP_SIZES.prefix)
    rows = rows_with(run.progress, *(column for steps in layers.values() for column in steps))
    if not len(rows.get("iteration", ())):
        return {}
    return {layer: any(rows[column][-1] != 0 for column in steps) for layer, steps in layers.items()}
