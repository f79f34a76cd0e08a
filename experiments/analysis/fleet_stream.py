"""Filed streams of data to a classifier, put together over seeds, as sheets of ``metarl table fleet``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, get_args

import torch

from metarl.core.intervals import interval_over_tasks
from metarl.experiments.analysis.records import read_filed
from metarl.experiments.console.sheets import MISSING, Sheet
from metarl.fleet.simulation import Strategy
from metarl.fleet.stream import StreamRound

FOLDER = Path("fleet") / "stream"  # of the results
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
CAPTION = (
    "Percent of test images that devices classify rightly: the mean over rounds of the difference to full updates of "
    "the same seed, and what is reached after the last round, with 95 % intervals over seeds. Bytes of all patches and "
    "their share of those of full updates."
)


@dataclass(frozen=True)
class FiledStream:
    """The rounds of all strategies with one seed."""

    title: str  # what the seeds of a sheet have in common
    rounds: dict[str, list[dict[str, Any]]]  # by strategy, of ``StreamRound``

    def mean_accuracy(self, strategy: str) -> float:
        """Return the mean accuracy over rounds, in percent."""
        return 100 * fmean(each["accuracy"] for each in self.rounds[strategy])

    def total(self, strategy: str, name: str) -> float:
        """Return the sum of a number over rounds."""
        return float(sum(each[name] for each in self.rounds[strategy]))


def stream_record(
    data: str, settings: Mapping[str, Any], rounds: Mapping[Strategy, Sequence[StreamRound]]
) -> dict[str, Any]:
    """Return a stream as JSON."""
    told = {strategy: [asdict(each) for each in own] for strategy, own in rounds.items()}
    return {"data": data, "settings": dict(settings), "rounds": told}


def filed_streams(results: Path) -> list[FiledStream]:
    """Return all filed streams; raise Refusal naming a file that is none."""
    return read_filed(results / FOLDER, _stream, "stream of data")


def _stream(path: Path, record: dict[str, Any]) -> FiledStream:
    own = record["settings"]
    sizes = "-".join(str(size) for size in own["hidden_sizes"])
    title = (
        f"{record['data']}: {own['initial']} images, {own['arriving']} more in each of {own['rounds']} rounds, "
        f"ratio {own['ratio']:g}, hidden layers {sizes}, 2 x {own['epochs']} epochs"
        + ("" if own["reinitialize"] else ", never anew")
    )
    filed = FiledStream(title, record["rounds"])
    for strategy in filed.rounds:
        filed.mean_accuracy(strategy)
    return filed


def sheets(streams: Sequence[FiledStream]) -> list[Sheet]:
    """Return a sheet for each protocol."""
    titles = sorted({each.title for each in streams})
    return [stream_sheet(title, [each for each in streams if each.title == title]) for title in titles]


def stream_sheet(title: str, streams: Sequence[FiledStream]) -> Sheet:
    """Return a row per strategy."""
    rows = []
    for strategy in STRATEGIES:
        own = [each for each in streams if strategy in each.rounds]
        if not own:
            continue
        both = [each for each in own if "full" in each.rounds]
        differences = [each.mean_accuracy(strategy) - each.mean_accuracy("full") for each in both]
        last = [100 * each.rounds[strategy][-1]["accuracy"] for each in own]
        sent = fmean(each.total(strategy, "patch_bytes") for each in own)
        full = fmean(each.total("full", "patch_bytes") for each in both) if both else 0.0
        rows.append(
            [
                strategy,
                over_seeds(differences) if strategy != "full" else MISSING,
                over_seeds(last),
                f"{fmean(each.total(strategy, 'sent') for each in own):.1f}",
                f"{sent:,.0f}",
                f"{100 * sent / full:.1f} %" if full else MISSING,
            ]
        )
    return Sheet(title, ["strategy", "minus full", "last round", "rounds sent", "bytes", "of full"], rows)


def over_seeds(numbers: Sequence[float]) -> str:
    """Return the mean with its interval over seeds: ``-1.2 ± 3.4 [3]``."""
    if not numbers:
        return MISSING
    over = interval_over_tasks(torch.tensor(numbers, dtype=torch.float64))
    spread = f" ± {over.ci95:.1f}" if len(numbers) > 1 else ""
    return f"{over.mean:.1f}{spread} [{len(numbers)}]"
