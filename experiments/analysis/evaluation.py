"""Present the evaluation of a policy: as a table and as a JSON record."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from metarl.experiments.console.intervals import Intervals, interval_records, interval_table
from metarl.experiments.console.progress import number
from metarl.rl.evaluation import Evaluation


def returns_record(evaluation: Evaluation) -> dict[str, Any]:
    """Return what ``--json`` writes of a policy."""
    return {"tasks": len(evaluation.tasks), "returns": interval_records(_by_steps(evaluation))}


def returns_table(evaluation: Evaluation, title: str) -> Table:
    """Return the mean return and its 95 % interval by the number of inner steps."""
    return interval_table(title, "return", _by_steps(evaluation), number)


def _by_steps(evaluation: Evaluation) -> Intervals:
    return dict(enumerate(evaluation.intervals()))
