"""Charts of what each layer does during training: its step sizes, and the channels that it keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from metarl.experiments.analysis.curves import Curve, curve, line, thinned
from metarl.experiments.analysis.logs import Array, rows_with
from metarl.experiments.analysis.style import COLORMAP, round_ticks, series_color
from metarl.experiments.report.chart import SIZE, Chart, Series, curve_chart, data_range, extent, new_axes
from metarl.experiments.report.comparison import typeset
from metarl.experiments.report.runs import Group, Run

MOST_CURVES = 9  # that can be told apart in one chart
MOST_COLUMNS = 100  # of a heat map
ROW, FRAME = 15.0, 78.0  # pixels of a heat map's row, and of its axis and color bar
NORM = "norm"  # in the names of normalization layers


class Quantity(NamedTuple):
    """A number of each layer in each inner step, logged in the column ``{prefix}{layer}_{step}``."""

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
    """Chart each quantity of each group, group by group, and say in a sentence what each group adapts.

    Each quantity has one scale in all charts. Step sizes that never change are a sentence, not a chart.
    """
    by_group: dict[int, list[Chart]] = {index: [] for index in range(len(groups))}
    sentences = []
    for quantity in (STEP_SIZES, *KEPT):
        found = {index: series_of(group, index, quantity) for index, group in enumerate(groups)}
        if quantity is STEP_SIZES:
            fixed = {index for index, series in found.items() if are_fixed(series)}
            sentences = [
                fixed_step_sizes(groups[index], series) if index in fixed else adapted_layers(groups[index])
                for index, series in found.items()
                if series
            ]
            found = {index: series for index, series in found.items() if index not in fixed}
        values = extent([each for series in found.values() for each in series])
        for index, series in found.items():
            by_group[index] += quantity_chart(groups, index, quantity, series, values)
    return [chart for charts in by_group.values() for chart in charts], sentences


def quantity_chart(
    groups: Sequence[Group], index: int, quantity: Quantity, series: Sequence[Series], values: Sequence[Array]
) -> list[Chart]:
    """Chart one quantity of a group's layers.

    Args:
        groups: all groups of the section.
        index: which of them the chart is about.
        quantity: what is charted.
        series: its curves, drawn as a heat map if there are too many to tell them apart.
        values: all values of the quantity in all groups, for the scale.

    Returns:
        A list of one chart, or of none if there are no curves.
    """
    group = groups[index]
    title = quantity.title if len(groups) == 1 else f"{quantity.title}, {group.label}"
    is_mean = group.inner_steps > 1 and not any(", step " in each.label for each in series)
    note = "Means over the inner steps." if is_mean else ""
    if len(series) > MOST_CURVES:
        span = data_range(values, quantity.include, margin=0)
        return [heat_map(title, quantity.label, series, span, note=note, group=index)]
    span = data_range(values, quantity.include)
    return curve_chart(title, quantity.label, series, y_range=span, has_legend=True, note=note, group=index)


def heat_map(
    title: str, label: str, series: Sequence[Series], span: tuple[float, float], *, note: str, group: int
) -> Chart:
    """Draw a row for each curve, its mean in colors; a zero has no color.

    Args:
        title: heading of the chart.
        label: name of the quantity, beside the color bar.
        series: the curves; their last values stand at the right.
        span: lowest and highest value of the color bar.
        note: sentence below the chart.
        group: the group that the chart is about.
    """
    figure, (axes,) = new_axes("meta-iteration", "", (SIZE[0], FRAME + ROW * len(series)))
    x = np.unique(np.concatenate([each.curve.x for each in series]))
    means = np.array([thinned(spread(each.curve, x), MOST_COLUMNS).mean for each in series])
    half = (x[-1] - x[0]) / (2 * max(1, means.shape[1] - 1)) or 0.5
    shown = np.ma.masked_where(~np.isfinite(means) | (means == 0), means)
    borders = (x[0] - half, x[-1] + half, len(series) - 0.5, -0.5)
    look: Any = {"cmap": COLORMAP, "vmin": span[0], "vmax": span[1], "aspect": "auto", "interpolation": "none"}
    image = axes.imshow(shown, extent=borders, **look)
    axes.set_yticks(range(len(series)), [each.label for each in series], fontsize=10)
    last = [typeset(f"{each.curve.mean[np.isfinite(each.curve.mean)][-1]:.3g}") for each in series]
    values = axes.secondary_yaxis("right")
    values.set_yticks(range(len(series)), last, fontsize=10)
    axes.xaxis.set_major_locator(round_ticks(integer=True))
    axes.grid(False)
    figure.colorbar(image, ax=axes, location="top", label=label, aspect=40).outline.set_visible(False)
    note = f"{note} Cells without color are zero; the last value stands at the right.".strip()
    return Chart(title, figure, note=note, group=group)


def spread(narrow: Curve, x: Array) -> Curve:
    """Return the curve's mean at all of ``x``; nan where it has no point."""
    mean = np.full(len(x), np.nan)
    mean[np.searchsorted(x, narrow.x)] = narrow.mean
    return line(x, mean)


def series_of(group: Group, index: int, quantity: Quantity) -> list[Series]:
    """Return a curve for each layer and inner step, or the layers' means over the inner steps if those are too many.

    Curves of later inner steps are dashed. Among means, normalization layers are dashed, in the color of the layer
    before.
    """
    layers = columns_of(group.progress, quantity.prefix)
    columns = [column for steps in layers.values() for column in steps]
    logs = [rows_with(log, *columns) for log in group.progress]
    series = []
    if len(columns) <= MOST_CURVES:
        for number, (layer, steps) in enumerate(layers.items()):
            for column in steps:
                step = column.rpartition("_")[2]
                label = layer if group.inner_steps == 1 else f"{layer}, step {step}"
                found = curve(logs, column)
                if found is not None:
                    series.append(Series(label, series_color(number), index, found, dashed=step != "1"))
        return series
    colors = colors_of(list(layers))
    means = [means_over_steps(log, layers) for log in logs]
    for layer in layers:
        found = curve(means, layer)
        if found is not None:
            without_band = line(found.x, found.mean)  # the bands of many curves would hide each other
            series.append(Series(layer, colors[layer], index, without_band, dashed=NORM in layer))
    return series


def columns_of(logs: Sequence[Mapping[str, Array]], prefix: str) -> dict[str, list[str]]:
    """Return the columns of each layer, one for each inner step."""
    layers: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for log in logs for name in log if name.startswith(prefix)):
        layers.setdefault(name.removeprefix(prefix).rpartition("_")[0], []).append(name)
    return layers


def colors_of(layers: Sequence[str]) -> dict[str, str]:
    """Return a color for each layer; a normalization layer has the color of the layer before."""
    colors: dict[str, str] = {}
    others = 0
    for layer in layers:
        others += NORM not in layer
        colors[layer] = series_color(max(0, others - 1))
    return colors


def means_over_steps(log: Mapping[str, Array], layers: Mapping[str, list[str]]) -> dict[str, Array]:
    """Return the log's iterations and, by layer, the mean over its inner steps, of layers that the log has."""
    means = {layer: [log[column] for column in steps if column in log] for layer, steps in layers.items()}
    return {name: log[name] for name in ("iteration",) if name in log} | {
        layer: np.mean(values, axis=0) for layer, values in means.items() if values
    }


def are_fixed(series: Sequence[Series]) -> bool:
    """Return whether some curve has more than one point, and none ever changes."""
    means = [each.curve.mean[np.isfinite(each.curve.mean)] for each in series]
    return any(len(mean) > 1 for mean in means) and all(np.ptp(mean) == 0 for mean in means)


def fixed_step_sizes(group: Group, series: Sequence[Series]) -> str:
    """Say which layers have which step size, e.g. ``0.1 in layer1, layer2; 0 in layer3``."""
    by_size: dict[str, dict[str, None]] = {}
    for each in series:
        layer = each.label.partition(", step ")[0]
        by_size.setdefault(f"{np.nanmean(each.curve.mean):.4g}", {})[layer] = None
    names = {size: ", ".join(layers) if len(by_size) > 1 else "all layers" for size, layers in by_size.items()}
    told = "; ".join(f"{size} in {layers}" for size, layers in names.items())
    return f"Fixed step sizes of {group.label}: {told}."


def adapted_layers(group: Group) -> str:
    """Say which layers have a step size other than zero in some inner step of the last logged row."""
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
    """Return, by layer, whether any of its last step sizes differs from zero; empty if there are none."""
    layers = columns_of([run.progress], STEP_SIZES.prefix)
    rows = rows_with(run.progress, *(column for steps in layers.values() for column in steps))
    if not len(rows.get("iteration", ())):
        return {}
    return {layer: any(rows[column][-1] != 0 for column in steps) for layer, steps in layers.items()}
