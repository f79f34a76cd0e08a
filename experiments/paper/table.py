"""The paper's Table 3 with the filed results beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from metarl.experiments.console.sheets import MISSING, Sheet
from metarl.experiments.paper.filing import EVALUATION, TASKS, Result, is_filed, read_result
from metarl.experiments.paper.published import TABLE_3, Published

HEADINGS = (
    "method",
    "layers",
    "return: paper",
    "return: ours",
    "MB: paper",
    "MB: model",
    "MB: measured",
    "GMAC: paper",
    "GMAC: model",
    "iterations",
)
CAPTION = (
    f"Return: mean and 95 % interval over {TASKS} unseen tasks, after adaptation. "
    "MB (10^6 bytes) and GMAC: peak memory and operations of one inner step, by the cost model for the layers and "
    "channels that the controller chose; measured: the bytes alive at the peak while the step ran. "
    "Paper: p-Meta (Qu et al., KDD 2022), Table 3."
)


@dataclass(frozen=True)
class Row:
    """A method on a family: the paper's numbers, and the filed result if there is one."""

    method: str
    published: Published
    result: Result | None

    def cells(self) -> list[str]:
        """The numbers under ``HEADINGS``."""
        paper, result = self.published, self.result
        ours = [MISSING] * 6
        if result:
            cost = result.cost
            ours = [
                " ".join(name.removeprefix("layer") for name in cost.layers) or "none",
                f"{result.mean_return:.1f} ± {result.ci95:.1f}",
                f"{cost.peak_adaptation_bytes / 1e6:.3f}",
                f"{cost.measured_peak_adaptation_bytes / 1e6:.3f}",
                f"{cost.adaptation_macs / 1e9:.3f}",
                str(result.iterations),
            ]
        layers, returned, model, measured, gmac, iterations = ours
        return [
            self.method,
            layers,
            f"{paper.mean_return:.1f}",
            returned,
            f"{paper.megabytes:.2f}",
            model,
            measured,
            f"{paper.gmac:.2f}",
            gmac,
            iterations,
        ]


def read_rows(results: Path) -> dict[str, list[Row]]:
    """The rows of every family, in the paper's order. ValueError names a result that cannot be read."""
    return {
        family: [
            Row(
                method,
                published,
                read_result(results / family / method / EVALUATION) if is_filed(results, family, method) else None,
            )
            for method, published in methods.items()
        ]
        for family, methods in TABLE_3.items()
    }


def sheet(family: str, rows: Sequence[Row]) -> Sheet:
    """One family's rows, within 80 columns."""
    return Sheet(family, HEADINGS, [row.cells() for row in rows], words=2)
