"""The charts of what happened while the groups of a family were trained."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count, takewhile

import numpy as np

from metarl.experiments.report.chart import LARGE, Chart, Member, extent, line_chart, tone
from metarl.experiments.report.curves import Curve, curve, finite
from metarl.experiments.report.drawing import data_range
from metarl.experiments.report.runs import Group

STEP_SIZE = "step_size_"


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


def step_size_charts(groups: Sequence[Group]) -> tuple[list[Chart], list[str]]:
    """A chart for each group whose step sizes change, all on one scale; a sentence for each group where they do not."""
    changing: dict[int, list[Member]] = {}
    sentences = []
    for index, group in enumerate(groups):
        members = step_sizes_of(group, index)
        if any(np.nanmax(member.curve.mean) > np.nanmin(member.curve.mean) for member in members):
            changing[index] = members
        elif members:
            sentences.append(f"{group.label}: {fixed_step_sizes(members)}.")
    y_range = data_range(extent([member for members in changing.values() for member in members]), include=[0])
    charts = []
    for index, members in changing.items():
        title = "Step sizes" if len(groups) == 1 else f"Step sizes, {groups[index].label}"
        charts += line_chart(title, "step size", members, y_range=y_range, legend=True, group=index)
    return charts, sentences


def step_sizes_of(group: Group, index: int) -> list[Member]:
    """A group's step sizes, a colour for each layer; those of later inner steps are dashed."""
    columns = dict.fromkeys(name for log in group.progress for name in log if name.startswith(STEP_SIZE))
    named = {name: name.removeprefix(STEP_SIZE).rpartition("_") for name in columns}
    layers = list(dict.fromkeys(layer for layer, _, _ in named.values()))
    members = []
    for name, (layer, _, step) in named.items():
        found = curve(group.progress, name)
        if found is not None:
            label = layer if group.inner_steps == 1 else f"{layer}, step {step}"
            members.append(Member(label, tone(layers.index(layer)), index, found, dashed=step != "1"))
    return members


def fixed_step_sizes(members: Sequence[Member]) -> str:
    """Layers by the step size that they keep: ``0.1 in layer1, layer2; 0 in layer3``."""
    by_size: dict[str, dict[str, None]] = {}
    for member in members:
        layer = member.label.partition(",")[0]
        by_size.setdefault(f"{np.nanmean(member.curve.mean):.4g}", {})[layer] = None
    return "; ".join(f"{size} in {', '.join(layers)}" for size, layers in by_size.items())


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
