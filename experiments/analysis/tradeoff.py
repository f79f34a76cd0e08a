"""What a Lasso buys: the return of runs with different lambdas against the memory that adapting them takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from metarl.core.intervals import Interval
from metarl.experiments.console.sheets import Sheet


@dataclass(frozen=True)
class TradeOff:
    """A run: its method and lambda, the return after adaptation, and what one inner step of its controller takes."""

    method: str
    lasso: float
    iterations: int
    returned: Interval
    measured_bytes: int  # the peak of the step as it ran
    layers: tuple[str, ...]  # that the step updates

    @property
    def megabytes(self) -> float:
        """The measured peak in MB of 10^6 bytes."""
        return self.measured_bytes / 1e6


def tradeoff_sheet(family: str, points: Sequence[TradeOff]) -> Sheet:
    """Return the runs of a family as a table, by method and lambda."""
    return Sheet(
        family,
        ["method", "layers", "lambda", "iterations", "return", "measured MB"],
        [
            [
                each.method,
                ", ".join(each.layers) or "none",
                f"{each.lasso:g}",
                str(each.iterations),
                f"{each.returned.mean:.1f} ± {each.returned.ci95:.1f}",
                f"{each.megabytes:.3f}",
            ]
            for each in ordered(points)
        ],
        words=2,
    )


def ordered(points: Sequence[TradeOff]) -> list[TradeOff]:
    """Return the runs by method and rising lambda."""
    return sorted(points, key=lambda each: (each.method, each.lasso))
