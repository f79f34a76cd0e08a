"""Filed federations, put together over seeds: what float, int8 and int4 clients reach, and what travels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from metarl.core.intervals import Interval, interval_on_shared_tasks, interval_over_seeds, student_t
from metarl.experiments.analysis.records import read_filed
from metarl.experiments.console.sheets import MISSING, Sheet
from metarl.fleet.federated.client_memory import peak_bytes
from metarl.fleet.federated.rounds import FAULTS, Outcome, Population, agreed_layout
from metarl.fleet.federated.settings import FLOAT, FederationSettings
from metarl.fleet.federated.weights import held

FOLDER = Path("fleet", "federate")  # of the results
CAPTION = (
    "What clients hold reaches after the last round: share of right labels in percent on images that no client has, or "
    "mean return after adaptation on unseen tasks. 95 % intervals over seeds and images, or over seeds and tasks that "
    "all seeds share. Differences to float are paired by seed, with t_{n-1} S / sqrt(n). In brackets: the number of "
    "seeds. Bytes are those of encoded messages, per client and round; memory is the peak of a client's live tensors."
)


def federation_record(
    command: str, population: Population, settings: FederationSettings, outcome: Outcome
) -> dict[str, Any]:
    """Return a federation as JSON: what was asked, what was reached, what travelled.

    Args:
        command: The command line.
        population: The clients.
        settings: The settings.
        outcome: What it led to.
    """
    start = population.start()
    layout = agreed_layout(population, start, settings)
    weights, rows = held(start, layout), outcome.rows
    answers = sum(row["answers"] for row in rows)
    begun = population.score(weights)
    return {
        "command": command,
        "settings": asdict(settings),
        "clients": population.about(),
        "start": begun.mean,
        "score": outcome.score.mean,
        "ci95": outcome.score.ci95,
        "scored": population.scored,
        "curve": [[row["round"], row["score"]] for row in rows if not math.isnan(row["score"])],
        "dropped": {fault: int(sum(row[fault] for row in rows)) for fault in FAULTS},
        "bytes_down": sum(row["bytes_down"] for row in rows) / sum(row["asked"] for row in rows),
        "bytes_up": sum(row["bytes_up"] for row in rows) / answers if answers else 0.0,
        "payload_down": layout.payload_bytes,
        "client_peak_bytes": peak_bytes(population, weights, settings, 0),
        "moved": sum(row["moved"] * row["answers"] for row in rows if row["answers"]) / answers if answers else 0.0,
    }


class Protocol(NamedTuple):
    """What the federations of one sheet have in common."""

    clients: str  # a folder of images by its name, or a task family
    mode: str
    rounds: int
    number: int  # of clients
    per_round: int
    optimizer: str
    learning_rate: float
    local_steps: int

    @property
    def title(self) -> str:
        """Return the sheet's title."""
        steps = f", {self.local_steps} local steps" if self.mode == "fedavg" else f", {self.optimizer}"
        return (
            f"{self.clients}: {self.mode}{steps} at {self.learning_rate:g}, {self.rounds} rounds of "
            f"{self.per_round} of {self.number} clients"
        )


@dataclass(frozen=True)
class FiledFederation:
    """A filed federation."""

    protocol: Protocol
    record: dict[str, Any]

    @property
    def setting(self) -> dict[str, Any]:
        """The settings of the federation."""
        return dict(self.record["settings"])

    @property
    def row(self) -> tuple[int, bool, str]:
        """What the rows of a sheet differ in: bits, relay, rounding."""
        setting = self.setting
        return -setting["bits"], setting["relay"], setting["rounding"]

    @property
    def is_images(self) -> bool:
        """Whether clients hold images."""
        return bool(self.record["clients"]["family"] == "images")


def told_row(row: tuple[int, bool, str]) -> str:
    """Return the name of a row: ``int4, relay``."""
    bits, relay, rounding = row
    name = "float" if -bits == FLOAT else f"int{-bits}"
    return name + ", relay" * relay + ", rounded by chance" * (rounding == "chance")


def filed_federations(results: Path) -> list[FiledFederation]:
    """Return all filed federations; raise Refusal naming a file that is none."""
    return read_filed(results / FOLDER, _federation, "record of a federation")


def _federation(path: Path, record: dict[str, Any]) -> FiledFederation:
    setting, clients = record["settings"], record["clients"]
    protocol = Protocol(
        clients["data"] if clients["family"] == "images" else clients["family"],
        setting["mode"],
        setting["rounds"],
        setting["clients"],
        setting["per_round"],
        setting["optimizer"],
        setting["learning_rate"],
        setting["local_steps"],
    )
    return FiledFederation(protocol, record)


def by_protocol(filed: Sequence[FiledFederation]) -> dict[Protocol, list[FiledFederation]]:
    """Return the federations of each protocol."""
    return {
        protocol: [each for each in filed if each.protocol == protocol]
        for protocol in sorted({each.protocol for each in filed})
    }


def sheets(filed: Sequence[FiledFederation]) -> list[Sheet]:
    """Return two sheets for each protocol: what clients reach, and what they take."""
    return [
        sheet(protocol, own) for protocol, own in by_protocol(filed).items() for sheet in (reached_sheet, sizes_sheet)
    ]


def reached_sheet(protocol: Protocol, filed: Sequence[FiledFederation]) -> Sheet:
    """Return a row for each kind of weights: what is reached on alike and on skewed clients."""
    skews = sorted({each.setting["skew"] for each in filed})
    rows = []
    for row in sorted({each.row for each in filed}):
        own = [each for each in filed if each.row == row]
        cells = [told_row(row)]
        for skew in skews:
            here = [each for each in own if each.setting["skew"] == skew]
            floats = [each for each in filed if each.setting["skew"] == skew and each.setting["bits"] == FLOAT]
            cells += [told_score(here), told_difference(here, floats)]
        rows.append(cells)
    kinds = ["alike" if skew == 0 else f"skew {skew:g}" for skew in skews]
    reached = [heading for kind in kinds for heading in (kind, f"{kind}: minus float")]
    return Sheet(protocol.title, ["weights", *reached], rows)


def sizes_sheet(protocol: Protocol, filed: Sequence[FiledFederation]) -> Sheet:
    """Return a row for each kind of weights: the largest bytes and memory over seeds."""
    rows = []
    for row in sorted({each.row for each in filed}):
        own = [each for each in filed if each.row == row]
        sizes = (largest(own, name) for name in ("bytes_down", "bytes_up", "client_peak_bytes"))
        rows.append([told_row(row), *sizes])
    return Sheet(f"{protocol.title}: bytes", ["weights", "bytes down", "bytes up", "client's peak, bytes"], rows)


def largest(filed: Sequence[FiledFederation], name: str) -> str:
    """Return the largest number of that name among records."""
    return f"{max(each.record[name] for each in filed):,.0f}"


def score_over_seeds(filed: Sequence[FiledFederation]) -> Interval:
    """Return what federations of several seeds reach; images are others for each seed, tasks are the same for all."""
    intervals = [Interval(each.record["score"], each.record["ci95"]) for each in filed]
    if filed[0].is_images:
        return interval_over_seeds(intervals, [each.record["scored"] for each in filed])
    return interval_on_shared_tasks(intervals)


def told_score(filed: Sequence[FiledFederation]) -> str:
    """Return what is reached: ``93.1 ± 1.2 [3]``."""
    if not filed:
        return MISSING
    over, scale = score_over_seeds(filed), 100 if filed[0].is_images else 1
    return f"{scale * over.mean:.1f} ± {scale * over.ci95:.1f} [{len(filed)}]"


def told_difference(filed: Sequence[FiledFederation], floats: Sequence[FiledFederation]) -> str:
    """Return the mean difference to float clients of the same seeds, with its interval over seeds."""
    of_seed = {each.setting["seed"]: each.record["score"] for each in floats}
    pairs = [each for each in filed if each.setting["seed"] in of_seed and each.setting["bits"] != FLOAT]
    if len(pairs) < 2:
        return MISSING
    scale = 100 if pairs[0].is_images else 1
    differences = [scale * (each.record["score"] - of_seed[each.setting["seed"]]) for each in pairs]
    mean = math.fsum(differences) / len(pairs)
    deviation = math.sqrt(math.fsum((each - mean) ** 2 for each in differences) / (len(pairs) - 1))
    return f"{mean:+.1f} ± {student_t(len(pairs) - 1) * deviation / math.sqrt(len(pairs)):.1f}"
