"""Charts of how the controllers of a task family were trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count, takewhile
from typing import Any

from metarl.experiments.analysis.curves import curve, finite
from metarl.experiments.analysis.style import series_color
from metarl.experiments.report.chart import LARGE, Chart, Series, curve_chart, data_range, extent
from metarl.experiments.report.runs import Group
from metarl.policies.methods import METHODS
from metarl.runs.logs import SUCCESS


def return_charts(groups: Sequence[Group]) -> list[Chart]:
    """Chart the returns, and success rates if they are known, before and after adaptation."""
    returns = charts_by_step(groups, "Return", "return", "return_")
    return [*returns, *charts_by_step(groups, "Success rate", "share of the episodes", SUCCESS, (-0.02, 1.02))]


def charts_by_step(
    groups: Sequence[Group], title: str, y_label: str, column: str, y_range: tuple[float, float] | None = None
) -> list[Chart]:
    """Chart a number of the episodes before and after adaptation: of one group together, of several on one scale.

    Args:
        groups: Runs with the same settings each.
        title: What the number is.
        y_label: Quantity and unit.
        column: What the number's columns of ``progress.csv`` begin with, the inner steps behind it.
        y_range: Ends of the y axis; by default it holds the curves.

    Returns:
        The charts; none if no run has such a column.
    """
    if len(groups) == 1:
        series = by_step(groups[0], column)
        return curve_chart(
            f"{title} before and after adaptation", y_label, series, y_range=y_range, has_legend=True, size=LARGE
        )
    before = series_of(groups, "progress", [f"{column}0"] * len(groups))
    after = series_of(groups, "progress", [f"{column}{group.inner_steps}" for group in groups])
    y_range = y_range or data_range(extent([*before, *after]))
    return [
        *curve_chart(f"{title} after adaptation", y_label, after, y_range=y_range, size=LARGE),
        *curve_chart(f"{title} before adaptation", y_label, before, y_range=y_range, size=LARGE),
    ]


def by_step(group: Group, column: str) -> list[Series]:
    """Return a group's curves after 0, 1, ... inner steps, of the columns that begin with ``column``."""
    series = []
    logged = takewhile(lambda steps: any(f"{column}{steps}" in log for log in group.progress), count())
    for steps in logged:
        found = curve(group.progress, f"{column}{steps}")
        label = f"after {steps} inner step{'' if steps == 1 else 's'}" if steps else "before adaptation"
        if found is not None:
            is_between = 0 < steps < group.inner_steps
            series.append(Series(label, "after" if steps else "before", 0, found, dashed=is_between))
    return series


def optimization_charts(groups: Sequence[Group]) -> list[Chart]:
    """Chart what the outer step did, and how widely the actions spread."""
    limits = [kl_limit(run.settings) for group in groups for run in group.runs]
    limit = limits[0] if all(limit == limits[0] for limit in limits) else None
    columns = "kl", "line_search_trials", "action_std", "action_entropy"
    kl, trials, std, entropy = (over_groups(groups, column) for column in columns)
    return [
        *curve_chart("KL divergence of the outer step", "KL", kl, include=[0], limit=limit),
        *curve_chart("Trials of the line search", "trials", trials, include=[0], whole=True),
        *skipped_chart(groups),
        *curve_chart("Standard deviation of the actions", "mean over actions", std),
        *curve_chart("Entropy of the actions", "nats", entropy),
    ]


def kl_limit(settings: Mapping[str, Any]) -> float | None:
    """Return the limit of the KL divergence in a run's settings, None where the method's outer step has none."""
    method, limit = METHODS.get(str(settings.get("method"))), settings.get("max_kl")
    moves_freely = method is not None and method.outer == "towards"
    return limit if isinstance(limit, float) and not moves_freely else None


def skipped_chart(groups: Sequence[Group]) -> list[Chart]:
    """Chart how many updates were skipped, if any was."""
    skipped = [number for group in groups for log in group.progress for number in finite(log.get("skipped"))]
    if max(skipped, default=0) == 0:
        return []
    return curve_chart("Skipped updates so far", "updates", over_groups(groups, "skipped"), include=[0], whole=True)


def speed_chart(groups: Sequence[Group]) -> list[Chart]:
    """Chart how many environment steps the sampling took per second."""
    speeds = series_of(groups, "timings", ["env_steps_per_second"] * len(groups))
    return curve_chart("Environment steps per second of sampling", "steps/s", speeds, include=[0], size=LARGE)


def over_groups(groups: Sequence[Group], column: str) -> list[Series]:
    """Return a column of ``progress.csv`` of each group that has it."""
    return series_of(groups, "progress", [column] * len(groups))


def series_of(groups: Sequence[Group], log: str, columns: Sequence[str]) -> list[Series]:
    """Return one column of each group's logs, where there is one."""
    return [
        Series(group.label, series_color(index), index, found)
        for index, (group, column) in enumerate(zip(groups, columns, strict=True))
        if (found := curve(getattr(group, log), column)) is not None
    ]
