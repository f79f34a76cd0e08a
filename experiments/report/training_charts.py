"""The charts of what happened while the groups of a family were trained."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count, takewhile

from metarl.experiments.report.chart import LARGE, Chart, Member, extent, line_chart, tone
from metarl.experiments.report.curves import Curve, curve, finite
from metarl.experiments.report.drawing import data_range
from metarl.experiments.report.runs import Group


def return_charts(groups: Sequence[Group]) -> list[Chart]:
    """Returns before and after adaptation: of one group in one chart, of several in a chart each, on one scale."""
    if len(groups) == 1:
        members = returns_of(groups[0])
        return line_chart("Return before and after adaptation", "return", members, legend=True, size=LARGE)
    before = members_of(groups, "progress", ["return_0"] * len(groups))
    after = members_of(groups, "progress", [f"return_{group.inner_steps}" for group in groups])
    y_range = data_range(extent([*before, *after]))
    return [
        *line_chart("Return after adaptation", "return", after, y_range=y_range, size=LARGE),
        *line_chart("Return before adaptation", "return", before, y_range=y_range, size=LARGE),
    ]


def returns_of(group: Group) -> list[Member]:
    """A group's returns after 0, 1, ... inner steps."""
    members = []
    logged = takewhile(lambda steps: any(f"return_{steps}" in log for log in group.progress), count())
    for steps in logged:
        found = curve(group.progress, f"return_{steps}")
        label = f"after {steps} inner step{'' if steps == 1 else 's'}" if steps else "before adaptation"
        if found is not None:
            is_between = 0 < steps < group.inner_steps
            members.append(Member(label, "after" if steps else "before", 0, found, dashed=is_between))
    return members


def optimization_charts(groups: Sequence[Group]) -> list[Chart]:
    """What the outer step did, and how wide the actions scatter."""
    limits = [run.settings.get("max_kl") for group in groups for run in group.runs]
    is_shared = isinstance(limits[0], float) and all(limit == limits[0] for limit in limits)
    skipped = over_groups(groups, "skipped")
    counts = [number for group in groups for log in group.progress for number in finite(log.get("skipped"))]
    has_skipped = max(counts, default=0) > 0
    note = "No update was skipped." if counts and not has_skipped else ""
    trials = over_groups(groups, "line_search_trials")
    return [
        *line_chart(
            "KL divergence of the outer step",
            "KL",
            over_groups(groups, "kl"),
            include=[0],
            rule=limits[0] if is_shared else None,
        ),
        *line_chart("Trials of the line search", "trials", trials, include=[0], note=note, counts=True),
        *(line_chart("Updates skipped so far", "updates", skipped, include=[0], counts=True) if has_skipped else []),
        *line_chart("Standard deviation of the actions", "mean over actions", over_groups(groups, "action_std")),
    ]


def speed_chart(groups: Sequence[Group]) -> list[Chart]:
    """How fast the simulation and the policy were."""
    members = members_of(groups, "timings", ["env_steps_per_second"] * len(groups))
    return line_chart("Environment steps per second of sampling", "steps/s", members, include=[0], size=LARGE)


def over_groups(groups: Sequence[Group], column: str) -> list[Member]:
    """A column of ``progress.csv``, a curve for each group that has it."""
    return members_of(groups, "progress", [column] * len(groups))


def members_of(groups: Sequence[Group], log: str, columns: Sequence[str]) -> list[Member]:
    """One column of each group's logs, where there is one."""
    found: list[tuple[int, Group, Curve | None]] = [
        (index, group, curve(getattr(group, log), column))
        for index, (group, column) in enumerate(zip(groups, columns, strict=True))
    ]
    return [Member(group.label, tone(index), index, each) for index, group, each in found if each is not None]
