"""The paper's Table 3 with the filed results beside it, for the terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.table import Table

from metarl.experiments.filing import EVALUATION, TASKS, Result, is_filed, read_result
from metarl.experiments.published import TABLE_3, Published

# What tells such a page from other files, so that only such pages are replaced.
MARK = "<!-- Written by metarl table rl. -->"
MISSING = "-"
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
NARROW = {"MB: measured": "MB\nmeas.", "iterations": "iter-\nations", ": ": "\n"}
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


def printed(family: str, rows: Sequence[Row]) -> Table:
    """One family's rows within 80 columns."""
    table = Table(title=family, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 0))
    for number, heading in enumerate(HEADINGS):
        for long, narrow in NARROW.items():
            heading = heading.replace(long, narrow)
        table.add_column(heading, justify="right" if number > 1 else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row.cells())
    return table


def markdown(families: dict[str, list[Row]]) -> str:
    """The page."""
    parts = [MARK]
    for family, rows in families.items():
        lines = [HEADINGS, ["---", "---", *["---:"] * (len(HEADINGS) - 2)], *(row.cells() for row in rows)]
        parts += [f"## {family}", "\n".join(f"| {' | '.join(line)} |" for line in lines)]
    return "\n\n".join([*parts, CAPTION]) + "\n"


def check_markdown(path: Path) -> None:
    """ValueError unless the page can be written there; only an older one is replaced."""
    if path.is_dir() or (path.exists() and not path.read_text(errors="replace").startswith(MARK)):
        raise ValueError(f"{path} is there already and was not written by metarl table: choose another name")
    if not path.parent.is_dir():
        raise ValueError(f"cannot write {path}: there is no folder {path.parent}")
