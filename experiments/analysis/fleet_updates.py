"""Filed simulations of updates in rounds, put together over seeds, as sheets of ``metarl table fleet``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, get_args

from metarl.core.intervals import Interval, interval_on_shared_tasks
from metarl.experiments.analysis.records import read_filed
from metarl.experiments.console.sheets import Sheet
from metarl.fleet.simulation import Strategy

FOLDER = Path("fleet") / "updates"  # of the results
WHAT = "simulation of updates"
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
CAPTION = (
    "Return after adaptation of what robots have after the last round, on unseen tasks that all strategies and seeds "
    "share, and the mean bytes sent in all rounds: those of the files, and the bound for random places. 95 % intervals "
    "over tasks for one seed; for several, over tasks and seeds. In brackets: the number of seeds."
)


@dataclass(frozen=True)
class FiledSimulation:
    """A simulation of one strategy and seed."""

    title: str  # the controller, the fields that have moved, and the settings that all rows of a sheet share
    strategy: Strategy
    seed: int
    rounds: list[dict[str, Any]]  # of ``SimulatedRound``, from round 0 on

    def reached(self, number: int = -1) -> Interval:
        """Return what robots reach after a round."""
        return Interval(**self.rounds[number]["reached"])

    def total(self, name: str) -> float:
        """Return the sum of a number over all rounds."""
        return float(sum(each[name] for each in self.rounds))


def filed_simulations(results: Path) -> list[FiledSimulation]:
    """Return all filed simulations, which lie as FAMILY/METHOD/NAME.json; raise Refusal naming a file that is none."""
    folder = results / FOLDER
    return read_filed(folder, lambda path, record: _simulation(path.parent.relative_to(folder), record), WHAT)


def _simulation(controller: Path, record: dict[str, Any]) -> FiledSimulation:
    settings, rounds = record["settings"], record["rounds"]
    ranges = ", ".join(f"{name} {low:g} to {high:g}" for name, (low, high, *_) in record["fields"].items())
    title = (
        f"{controller}, {ranges}: {len(rounds) - 1} rounds of 2 x {settings['iterations']} meta-iterations, "
        f"ratio {settings['ratio']:g} (before: {rounds[0]['reached']['mean']:.1f}, {record['tasks']} tasks)"
    )
    return FiledSimulation(title, record["strategy"], settings["seed"], rounds)


def sheets(simulations: Sequence[FiledSimulation]) -> list[Sheet]:
    """Return a sheet for each controller and protocol."""
    titles = sorted({each.title for each in simulations})
    return [update_sheet(title, [each for each in simulations if each.title == title]) for title in titles]


def update_sheet(title: str, simulations: Sequence[FiledSimulation]) -> Sheet:
    """Return a row per strategy."""
    full = [each.total("patch_bytes") for each in simulations if each.strategy == "full"]
    rows = []
    for strategy in STRATEGIES:
        own = [each for each in simulations if each.strategy == strategy]
        if not own:
            continue
        over = interval_on_shared_tasks([each.reached() for each in own])
        sent = fmean([each.total("patch_bytes") for each in own])
        share = f"{100 * sent / fmean(full):.1f} %" if full and fmean(full) else "-"
        rows.append(
            [
                strategy,
                f"{over.mean:.1f} ± {over.ci95:.1f} [{len(own)}]",
                f"{fmean([each.total('sent') for each in own]):.1f}",
                f"{sent:,.0f}",
                f"{fmean([each.total('bound_bytes') for each in own]):,.0f}",
                share,
            ]
        )
    return Sheet(title, ["strategy", "return", "rounds sent", "bytes", "bound", "of full"], rows)


def sent_until(simulation: FiledSimulation, number: int) -> float:
    """Return the bytes that were sent up to a round."""
    return float(sum(each["patch_bytes"] for each in simulation.rounds[: number + 1]))
