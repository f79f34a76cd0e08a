"""Means with their 95 % intervals, by the number of inner steps: as a table, and for ``--json``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from rich.table import Table

from metarl.core.intervals import Interval

Intervals = Mapping[int, Interval]  # by the number of inner steps


def interval_records(intervals: Intervals) -> list[dict[str, Any]]:
    """One record each; a single task has no interval: null."""
    return [
        {"steps": steps, "mean": each.mean, "ci95": each.ci95 if math.isfinite(each.ci95) else None}
        for steps, each in intervals.items()
    ]


def interval_table(title: str, quantity: str, intervals: Intervals, show: Callable[[float], str]) -> Table:
    """One row each."""
    table = Table(title=title)
    for heading in ("inner steps", f"mean {quantity}", "95 % interval"):
        table.add_column(heading, justify="right")
    for steps, each in intervals.items():
        table.add_row(str(steps), show(each.mean), f"± {show(each.ci95)}" if math.isfinite(each.ci95) else "")
    return table
