"""Filed simulations of updates in rounds, put together over seeds, as sheets of ``metarl table fleet``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from metarl.core.errors import Refusal
from metarl.core.intervals import Interval, interval_on_shared_tasks
from metarl.experiments.console.sheets import Sheet
from metarl.fleet.simulation import Strategy

FOLDER = Path("fleet") / "updates"  # of the results
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
    found = []
    for path in sorted((results / FOLDER).rglob("*.json")):
        try:
            record = json.loads(path.read_text())
            settings, rounds = record["settings"], record["rounds"]
            ranges = ", ".join(f"{name} {low:g} to {high:g}" for name, (low, high, *_) in record["fields"].items())
            title = (
                f"{path.parent.relative_to(results / FOLDER)}, {ranges}: {len(rounds) - 1} rounds of "
                f"2 x {settings['iterations']} meta-iterations, ratio {settings['ratio']:g} "
                f"(before: {rounds[0]['reached']['mean']:.1f}, {record['tasks']} tasks)"
            )
            found.append(FiledSimulation(title, record["strategy"], settings["seed"], rounds))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise Refusal(f"{path} is no simulation of updates: {error!r}") from None
    return found


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
        sent = mean([each.total("patch_bytes") for each in own])
        share = f"{100 * sent / mean(full):.1f} %" if full and mean(full) else "-"
        rows.append(
            [
                strategy,
                f"{over.mean:.1f} ± {over.ci95:.1f} [{len(own)}]",
                f"{mean([each.total('sent') for each in own]):.1f}",
                f"{sent:,.0f}",
                f"{mean([each.total('bound_bytes') for each in own]):,.0f}",
                share,
            ]
        )
    return Sheet(title, ["strategy", "return", "rounds sent", "bytes", "bound", "of full"], rows)


def sent_until(simulation: FiledSimulation, number: int) -> float:
    """Return the bytes that were sent up to a round."""
    return float(sum(each["patch_bytes"] for each in simulation.rounds[: number + 1]))


def mean(numbers: Sequence[float]) -> float:
    """Return the mean."""
    return sum(numbers) / len(numbers)
