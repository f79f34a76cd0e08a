"""Means with their 95 % intervals, by the number of inner steps: as a table, and for ``--json``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from rich.table import Table

from metarl.core.intervals import Interval

Intervals = Mapping[int, Interval]  # by the number of inner steps


def interval_records(intervals: Intervals) -> list[dict[str, Any]]:
    """Return a record for each number of inner steps; the interval of a single task is null."""
    return [
        {"steps": steps, "mean": each.mean, "ci95": each.ci95 if math.isfinite(each.ci95) else None}
        for steps, each in intervals.items()
    ]


def interval_table(title: str, quantities: Mapping[str, tuple[Intervals, Callable[[float], str]]]) -> Table:
    """Return a table with a row for each number of inner steps, and two columns for each quantity.

    ``quantities`` holds, by its heading, the intervals of a quantity and how a number of it is shown; one without
    intervals is left out.
    """
    shown = {heading: quantity for heading, quantity in quantities.items() if quantity[0]}
    table = Table(title=title)
    for heading in ("inner steps", *(each for quantity in shown for each in (quantity, "95 % interval"))):
        table.add_column(heading, justify="right")
    for steps in next(iter(shown.values()))[0]:
        cells = [str(steps)]
        for intervals, show in shown.values():
            each = intervals[steps]
            cells += [show(each.mean), f"± {show(each.ci95)}" if math.isfinite(each.ci95) else ""]
        table.add_row(*cells)
    return table


def percent(share: float) -> str:
    """Return a share as ``12.50 %``."""
    return f"{100 * share:.2f} %"
