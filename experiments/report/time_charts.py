"""The chart of where the time of an iteration goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from metarl.experiments.analysis.curves import finite
from metarl.experiments.analysis.style import LIGHT, series_color
from metarl.experiments.report.chart import LARGE, Chart, Key, new_axes
from metarl.experiments.report.runs import Group
from metarl.images import logs as image_logs
from metarl.rl import logs as policy_logs
from metarl.runs.logs import seconds_column

PHASES = tuple(dict.fromkeys([*policy_logs.PHASES, *image_logs.PHASES]))
BAR = 44.0  # pixels of a bar and its name
FRAME = 50.0  # pixels of the axis and its label


def time_chart(groups: Sequence[Group]) -> list[Chart]:
    """Draw a bar of the mean seconds of an iteration by phase for each group that has timings."""
    spent = {index: phases for index, group in enumerate(groups) if (phases := phase_seconds(group))}
    if not spent:
        return []
    used = [phase for phase in PHASES if any(phase in phases for phases in spent.values())]
    colors = {phase: series_color(number) for number, phase in enumerate(used)}
    figure, (axes,) = new_axes("seconds", "", (LARGE[0], FRAME + BAR * len(spent)))
    for row, (index, phases) in enumerate(spent.items()):
        start = 0.0
        for phase, seconds in phases.items():
            gid = f"g{index}|{phase}: {seconds:.3g} s"
            axes.barh(row, seconds, left=start, height=0.45, color=LIGHT[colors[phase]])[0].set_gid(gid)
            start += seconds
        look: Any = {"textcoords": "offset points", "va": "center", "gid": f"g{index}|", "annotation_clip": False}
        axes.annotate(f"{start:.3g} s", (start, row), (5, 0), **look)
        axes.annotate(groups[index].label, (0, row), (0, 19), **look).set_in_layout(False)
    axes.set(yticks=(), xlim=(0, 1.15 * max(sum(phases.values()) for phases in spent.values())))
    axes.set_ylim(len(spent) - 0.6, -0.9)
    axes.grid(False)
    legend = tuple(Key(phase, color, is_area=True) for phase, color in colors.items())
    return [Chart("Mean time of an iteration by phase", figure, legend)]


def phase_seconds(group: Group) -> dict[str, float]:
    """Return the mean seconds of an iteration by phase, over all iterations of all runs.

    A phase that not every iteration has, e.g. the validation after an epoch, is spread over all of them.
    """
    columns = {phase: [log.get(seconds_column(phase)) for log in group.timings] for phase in PHASES}
    spent = {phase: [second for each in logged for second in finite(each)] for phase, logged in columns.items()}
    iterations = sum(len(log.get("iteration", ())) for log in group.timings)
    return {phase: sum(seconds) / iterations for phase, seconds in spent.items() if seconds}
