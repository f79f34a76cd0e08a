"""The paper's Table 3 with the filed results beside it, and how far each method is from what is possible.

Methods that the paper lacks follow once they are filed. A row whose runs are missing is shown with dashes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from metarl.core.intervals import Interval
from metarl.experiments.console.sheets import Column, Row, Sheet, sheet
from metarl.experiments.paper.policy_filing import TASKS
from metarl.experiments.paper.policy_rows import SeedResults, read_rows, row_name, share_of_oracle
from metarl.experiments.paper.published import TABLE_3
from metarl.experiments.paper.results import DeviceCost, PolicyResult
from metarl.policies.methods import METHODS, REFERENCES


def layers_shown(cost: DeviceCost | PolicyResult) -> str:
    """Return the numbers of the layers that are updated."""
    return " ".join(name.removeprefix("layer") for name in cost.layers) or "none"


def return_shown(interval: Interval) -> str:
    """Return a mean return with its interval."""
    return f"{interval.mean:.1f} ± {interval.ci95:.1f}"


def percent_shown(share: float | None) -> str | None:
    """Return a share in percent, None for none."""
    return None if share is None else f"{100 * share:.0f} %"


COLUMNS = (
    Column("method", "name", str),
    Column("layers", "ours", lambda ours: layers_shown(ours.results[0])),
    Column("return: paper", "paper", lambda paper: f"{paper.mean_return:.1f}"),
    Column("return: ours", "ours", lambda ours: return_shown(ours.after())),
    Column("MB: paper", "paper", lambda paper: f"{paper.megabytes:.2f}"),
    Column("MB: model", "ours", lambda ours: f"{ours.largest('peak_adaptation_bytes') / 1e6:.3f}"),
    Column("MB: measured", "ours", lambda ours: f"{ours.largest('measured_peak_adaptation_bytes') / 1e6:.3f}"),
    Column("GMAC: paper", "paper", lambda paper: f"{paper.gmac:.2f}"),
    Column("GMAC: model", "ours", lambda ours: f"{ours.largest('adaptation_macs') / 1e9:.3f}"),
)
CAPTION = (
    f"Return: mean over {TASKS} unseen tasks and all seeds, after adaptation. -gate: with the return gate. "
    "95 % interval over tasks for one seed; for n seeds, each tested on tasks of its own, "
    "t_{n-1} sqrt(max(S^2, E) / n), with S^2 the variance of the seeds' means and E the mean of their squared "
    "standard errors over tasks. "
    "MB (10^6 bytes) and GMAC: peak memory and operations of one inner step, by the cost model for the layers and "
    "channels that the controller chose; measured: the bytes alive at the peak while the step ran; the largest of the "
    "seeds. To oracle: where the return lies between that of a policy trained without adaptation (0 %) and that of "
    "one that is told its task (100 %). Worse: tasks whose return adaptation lowered by more than its 95 % interval "
    "over episodes. A dash: not filed. Paper: p-Meta (Qu et al., KDD 2022), Table 3."
)


def sheets(results: Path) -> list[Sheet]:
    """Return two sheets for each family, within 80 columns; raise Refusal naming a result that cannot be read."""
    found = {family: read_rows(results, family) for family in TABLE_3}
    return [each for family, rows in found.items() for each in (paper_sheet(family, rows), reach_sheet(family, rows))]


def paper_sheet(family: str, rows: Mapping[str, SeedResults]) -> Sheet:
    """Return the sheet that puts the results beside the paper's."""
    paper = TABLE_3[family]
    return sheet(family, COLUMNS, [Row(name, paper.get(name), rows.get(name)) for name in shown(family, rows)], words=2)


def reach_sheet(family: str, rows: Mapping[str, SeedResults]) -> Sheet:
    """Return the sheet that says what adaptation gives, and where each row lies between the references."""
    columns = (
        Column("method", "name", str),
        Column("seeds", "ours", lambda ours: str(len(ours.results))),
        Column("iterations", "ours", SeedResults.iterations),
        Column("horizon", "ours", SeedResults.horizon),
        Column("before", "ours", lambda ours: return_shown(ours.before())),
        Column("after", "ours", lambda ours: return_shown(ours.after())),
        Column("to oracle", "ours", lambda ours: percent_shown(share_of_oracle(ours, rows))),
        Column("worse", "ours", lambda ours: percent_shown(ours.worse())),
    )
    names = [*REFERENCES, *shown(family, rows)]
    return sheet(f"{family}: what adaptation gives", columns, [Row(name, None, rows.get(name)) for name in names])


def shown(family: str, rows: Mapping[str, SeedResults]) -> list[str]:
    """Return the names of the rows: the paper's methods, without and with the gate, and what else is filed."""
    named = [(method, row_name(method, gated)) for method in METHODS for gated in (False, True)]
    return [name for method, name in named if method in TABLE_3[family] or name in rows]
