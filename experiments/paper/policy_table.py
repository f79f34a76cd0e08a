"""The paper's Table 3 with the filed results beside it; methods that the paper lacks follow once they are filed."""

from __future__ import annotations

from pathlib import Path

from metarl.experiments.console.sheets import Column, Row, Sheet, sheet
from metarl.experiments.paper.policy_filing import TASKS
from metarl.experiments.paper.published import TABLE_3
from metarl.experiments.paper.results import DeviceCost, PolicyResult, read_results
from metarl.policies.methods import METHODS


def layers_shown(cost: DeviceCost | PolicyResult) -> str:
    """Return the numbers of the layers that are updated."""
    return " ".join(name.removeprefix("layer") for name in cost.layers) or "none"


COLUMNS = (
    Column("method", "name", str),
    Column("layers", "ours", layers_shown),
    Column("return: paper", "paper", lambda paper: f"{paper.mean_return:.1f}"),
    Column("return: ours", "ours", lambda ours: f"{ours.returns[-1].mean:.1f} ± {ours.returns[-1].ci95:.1f}"),
    Column("MB: paper", "paper", lambda paper: f"{paper.megabytes:.2f}"),
    Column("MB: model", "ours", lambda ours: f"{ours.peak_adaptation_bytes / 1e6:.3f}"),
    Column("MB: measured", "ours", lambda ours: f"{ours.measured_peak_adaptation_bytes / 1e6:.3f}"),
    Column("GMAC: paper", "paper", lambda paper: f"{paper.gmac:.2f}"),
    Column("GMAC: model", "ours", lambda ours: f"{ours.adaptation_macs / 1e9:.3f}"),
    Column("iterations", "ours", lambda ours: str(ours.iterations)),
)
CAPTION = (
    f"Return: mean and 95 % interval over {TASKS} unseen tasks, after adaptation. "
    "MB (10^6 bytes) and GMAC: peak memory and operations of one inner step, by the cost model for the layers and "
    "channels that the controller chose; measured: the bytes alive at the peak while the step ran. "
    "Paper: p-Meta (Qu et al., KDD 2022), Table 3."
)


def sheets(results: Path) -> list[Sheet]:
    """Return a sheet for each family, within 80 columns; raise Refusal naming a result that cannot be read."""
    found = {family: read_results(results, family, METHODS, PolicyResult) for family in TABLE_3}
    return [
        sheet(
            family,
            COLUMNS,
            [
                Row(name, paper.get(name), found[family].get(name))
                for name in METHODS
                if name in {**paper, **found[family]}
            ],
            words=2,
        )
        for family, paper in TABLE_3.items()
    ]
