"""Filed verdicts on pruned controllers, put together over seeds, as the sheets of ``metarl table pruning``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from metarl.compression.judge import Verdict, verdict_record
from metarl.compression.settings import Criterion, PruneSettings
from metarl.core.intervals import Interval, interval_on_shared_tasks
from metarl.experiments.analysis.records import read_filed
from metarl.experiments.console.sheets import MISSING, Sheet

FOLDER = "pruning"  # of the results
CRITERIA: tuple[Criterion, ...] = get_args(Criterion)
SCALE = {"return": 1, "accuracy": 100}  # accuracies are shown in percent
CAPTION = (
    "Mean paired difference of the pruned to the dense controller after adaptation, on unseen tasks that all share. "
    "95 % intervals over tasks for one seed; for n seeds, the root of the sum of the squares of the mean interval over "
    "tasks and of t_{n-1} S / sqrt(n), with S the deviation of the seeds' means. In brackets: the number of seeds."
)


class Protocol(NamedTuple):
    """What the verdicts of one sheet have in common."""

    controller: str
    rounds: int
    iterations: int  # after each round
    connected: bool

    @property
    def title(self) -> str:
        """Return the sheet's title."""
        rounds = "one shot" if self.rounds == 1 else f"{self.rounds} rounds"
        trained = f"{self.iterations} meta-iterations after each" if self.iterations else "no meta-training"
        return f"{self.controller}: {rounds}, {trained}{self.suffix}"

    @property
    def suffix(self) -> str:
        """Return the option that was not the default."""
        return "" if self.connected else ", --no-connected"


@dataclass(frozen=True)
class FiledVerdict:
    """A verdict with the pruning that it is about."""

    protocol: Protocol
    criterion: Criterion
    sparsity: float
    seed: int
    record: dict[str, Any]  # of the judge

    @property
    def difference(self) -> Interval:
        """Return the paired difference of this seed."""
        return Interval(self.record["paired_difference"], self.record["ci95"])

    @property
    def measure(self) -> Literal["return", "accuracy"]:
        """Return what the judge compares."""
        return "return" if "return_after" in self.record else "accuracy"

    def reached(self, side: Literal["before", "after"]) -> float:
        """Return what the dense controller (before), or the pruned one, reaches after adaptation."""
        return float(self.record[f"{self.measure}_after"][side])


def verdict_path(results: Path, controller: str, settings: PruneSettings) -> Path:
    """Return where the verdict on a pruning of a controller, a name FAMILY/METHOD, is filed."""
    name = f"{settings.criterion}-{settings.sparsity:g}-{settings.rounds}x{settings.iterations}-seed{settings.seed}"
    name += "" if settings.connected else "-unconnected"
    return results / FOLDER / controller / f"{name}.json"


def pruning_record(controller: str, settings: PruneSettings, verdict: Verdict, judge_seed: int) -> dict[str, Any]:
    """Return a verdict as JSON, with the pruning that it is about.

    Args:
        controller: The dense controller, as the user names it.
        settings: How it was pruned.
        verdict: The judge's verdict.
        judge_seed: Seed of the judge's tasks and episodes.
    """
    about = {"controller": controller, "settings": asdict(settings), "judge_seed": judge_seed}
    return about | verdict_record(verdict)


def filed_verdicts(results: Path) -> list[FiledVerdict]:
    """Return all filed verdicts; raise Refusal naming a file that is none."""
    return read_filed(results / FOLDER, _verdict, "verdict on a pruned controller")


def _verdict(path: Path, record: dict[str, Any]) -> FiledVerdict:
    settings = record["settings"]
    protocol = Protocol(record["controller"], settings["rounds"], settings["iterations"], settings["connected"])
    return FiledVerdict(protocol, settings["criterion"], settings["sparsity"], settings["seed"], record)


def by_protocol(verdicts: Sequence[FiledVerdict]) -> dict[Protocol, list[FiledVerdict]]:
    """Return the verdicts of each protocol; the shortest protocol of a controller comes first."""
    protocols = sorted({each.protocol for each in verdicts})
    return {protocol: [each for each in verdicts if each.protocol == protocol] for protocol in protocols}


def sheets(verdicts: Sequence[FiledVerdict]) -> list[Sheet]:
    """Return a sheet of differences for each protocol, and one of sizes for each controller and kind of network."""
    differences = [difference_sheet(protocol, own) for protocol, own in by_protocol(verdicts).items()]
    by_kind: dict[tuple[str, bool], list[FiledVerdict]] = {}
    for each in verdicts:
        by_kind.setdefault((each.protocol.controller, not each.protocol.connected), []).append(each)
    return differences + [size_sheet(own) for _, own in sorted(by_kind.items(), key=lambda item: item[0])]


def difference_sheet(protocol: Protocol, verdicts: Sequence[FiledVerdict]) -> Sheet:
    """Return a row per criterion and a column per sparsity."""
    sparsities = sorted({each.sparsity for each in verdicts})
    rows = []
    for criterion in CRITERIA:
        own = [each for each in verdicts if each.criterion == criterion]
        if own:
            cells = ([each for each in own if each.sparsity == sparsity] for sparsity in sparsities)
            rows.append([criterion, *(told_difference(cell) for cell in cells)])
    first = verdicts[0]
    dense = f"{SCALE[first.measure] * first.reached('before'):.1f}" + " %" * (first.measure == "accuracy")
    title = f"{protocol.title} (dense: {dense}, {first.record['tasks']} tasks)"
    return Sheet(title, ["criterion", *(f"{100 * sparsity:g} %" for sparsity in sparsities)], rows)


def told_difference(verdicts: Sequence[FiledVerdict]) -> str:
    """Return the difference over seeds with its interval: ``-1.2 ± 3.4 [3]``."""
    if not verdicts:
        return MISSING
    over, scale = interval_on_shared_tasks([each.difference for each in verdicts]), SCALE[verdicts[0].measure]
    return f"{scale * over.mean:.1f} ± {scale * over.ci95:.1f} [{len(verdicts)}]"


def size_sheet(verdicts: Sequence[FiledVerdict]) -> Sheet:
    """Return what the dense controller and those of each sparsity take; the largest over criteria and seeds."""
    protocol = verdicts[0].protocol
    names = "file_bytes", "macs", "adaptation_bytes"

    def row(label: str, records: Sequence[dict[str, Any]], side: str) -> list[str]:
        largest = (max((record[name][side] or 0 for record in records), default=0) for name in names)
        return [label, *(f"{number:,}" if number else MISSING for number in largest)]

    rows = [row("dense", [verdicts[0].record], "before")]
    for sparsity in sorted({each.sparsity for each in verdicts}):
        records = [each.record for each in verdicts if each.sparsity == sparsity]
        rows.append(row(f"{100 * sparsity:g} %", records, "after"))
    headings = ["sparsity", "file bytes", "multiplications", "bytes of an inner step"]
    return Sheet(f"{protocol.controller}: sizes, the largest of all criteria{protocol.suffix}", headings, rows)
