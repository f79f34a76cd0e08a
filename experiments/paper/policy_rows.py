"""The rows of the table of reinforcement learning: a method with or without the gate, and its results over seeds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from metarl.core.intervals import Interval, interval_over_seeds
from metarl.experiments.paper.results import PolicyResult, is_filed, read_result
from metarl.policies.methods import METHODS, REFERENCES

GATE_SUFFIX = "-gate"
TABLE_METHODS = METHODS | REFERENCES


def row_name(method: str, gated: bool) -> str:
    """Return the name of a row, and of the folder of its result with seed 0."""
    return method + GATE_SUFFIX * gated


@dataclass(frozen=True)
class SeedResults:
    """The filed results of a row, in the order of their seeds; there is one at least."""

    results: tuple[PolicyResult, ...]

    def after(self) -> Interval:
        """Return the mean return after adaptation, with the interval over seeds and tasks."""
        return self._over_seeds(-1)

    def before(self) -> Interval:
        """Return the mean return before adaptation, with the interval over seeds and tasks."""
        return self._over_seeds(0)

    def _over_seeds(self, step: int) -> Interval:
        scores = [result.returns[step] for result in self.results]
        intervals = [Interval(score.mean, score.ci95) for score in scores]
        return interval_over_seeds(intervals, [result.tasks for result in self.results])

    def largest(self, cost: str) -> float:
        """Return the largest of the seeds' costs by the name of its field."""
        return float(max(getattr(result, cost) for result in self.results))

    def worse(self) -> float | None:
        """Return the share of tasks made worse, None if a result lacks it."""
        shares = [result.worse for result in self.results if result.worse is not None]
        return sum(shares) / len(shares) if len(shares) == len(self.results) else None

    def iterations(self) -> str:
        """Return the iterations of the trainings."""
        return span([result.iterations for result in self.results])

    def horizon(self) -> str | None:
        """Return the time steps of an episode, None if no result has recorded them."""
        recorded = [result.horizon for result in self.results if result.horizon is not None]
        return span(recorded) if recorded else None


def span(numbers: Sequence[int]) -> str:
    """Return one number, or the least and the largest of several: ``65-70``."""
    return f"{min(numbers)}" if min(numbers) == max(numbers) else f"{min(numbers)}-{max(numbers)}"


def read_rows(results: Path, family: str) -> dict[str, SeedResults]:
    """Read all filed results of a family by row; raise Refusal naming a result that cannot be read."""
    rows = {}
    for name in (row_name(method, gated) for method in TABLE_METHODS for gated in (False, True)):
        folders = [place for place in (results / family).glob(f"{name}*") if seed_of(place.name, name) is not None]
        folders.sort(key=lambda place: seed_of(place.name, name) or 0)
        filed = [read_result(place, PolicyResult) for place in folders if is_filed(results, family, place.name)]
        if filed:
            rows[name] = SeedResults(tuple(filed))
    return rows


def seed_of(folder: str, row: str) -> int | None:
    """Return the seed of a result's folder, None if it belongs to another row."""
    match = re.fullmatch(rf"{re.escape(row)}(?:-seed([1-9]\d*))?", folder)
    return None if match is None else int(match[1] or 0)


def share_of_oracle(row: SeedResults, rows: Mapping[str, SeedResults]) -> float | None:
    """Return where a row's return lies between no adaptation (0) and the oracle (1); None if one of them is missing."""
    if not {"no-adaptation", "oracle"} <= rows.keys():
        return None
    low, high = (rows[name].after().mean for name in ("no-adaptation", "oracle"))
    return (row.after().mean - low) / (high - low) if high != low else None
