"""Filed verdicts on nested subnets, put together over seeds, as sheets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metarl.core.intervals import Interval, interval_on_shared_tasks
from metarl.experiments.analysis.records import read_filed
from metarl.experiments.console.sheets import MISSING, Sheet

FOLDER = "fleet/nest"  # of the results
SCALE = {"return": 1, "accuracy": 100}  # accuracies are shown in percent
SETTINGS = ("row", "gamma", "objective", "epochs", "iterations", "tuning", "tasks", "learning_rate", "sparsities")
CAPTION = (
    "Mean paired difference of each subnet, and of a controller that was pruned by magnitude alone, to the dense "
    "controller after adaptation, on unseen tasks that all share. 95 % intervals over tasks for one seed; for several, "
    "over tasks and seeds. In brackets: the number of seeds."
)
HEADINGS = ["controller", "sparsity", "multiplications", "bytes", "before", "after", "difference to dense"]


def record_sheet(record: dict[str, Any]) -> Sheet:
    """Return a row for the dense controller, for each subnet, and for each separate controller of one record."""
    rows = [_row("dense", 0.0, record["dense"], record["dense"]["file_bytes"], record["measure"])]
    for each in record["subnets"]:
        name = f"subnet {each['number']}"
        rows.append(_row(name, each["reached_sparsity"], each, each["table_bytes"], record["measure"]))
    for sparsity, each in zip(record["settings"]["sparsities"], record["separate"], strict=False):
        rows.append(_row("separate", sparsity, each, each["file_bytes"], record["measure"]))
    return Sheet("", HEADINGS, rows)


def _row(name: str, sparsity: float, facts: dict[str, Any], size: int, measure: str) -> list[str]:
    scale = SCALE[measure]
    reached = [f"{scale * facts[when]:.1f}" for when in ("before", "after")]
    difference = f"{scale * facts['paired_difference']:.1f} ± {scale * facts['ci95']:.1f}" if sparsity else MISSING
    return [name, f"{100 * sparsity:.1f} %", f"{facts['macs']:,}", f"{size:,}", *reached, difference]


def filed_records(results: Path) -> list[dict[str, Any]]:
    """Return all filed verdicts on nested subnets; raise Refusal naming a file that is none."""
    return read_filed(results / FOLDER, _checked, "verdict on nested subnets")


def _checked(path: Path, record: dict[str, Any]) -> dict[str, Any]:
    """Return a record that has all that is shown; raise KeyError or TypeError otherwise."""
    record_sheet(record)
    protocol(record)
    return record


def protocol(record: dict[str, Any]) -> tuple[str, ...]:
    """Return what the records of one sheet have in common: the controller and all settings but the seed."""
    return (
        record["controller"],
        *(str(record["settings"][name]) for name in SETTINGS),
        str(record["separate_iterations"]),
    )


def by_protocol(records: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return the records of each protocol, the seeds together."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for record in records:
        groups.setdefault(protocol(record), []).append(record)
    return [groups[key] for key in sorted(groups)]


def sheets(records: Sequence[dict[str, Any]]) -> list[Sheet]:
    """Return a sheet for each protocol: sizes, and the paired differences to the dense controller over seeds."""
    return [_sheet(group) for group in by_protocol(records)]


def _sheet(group: Sequence[dict[str, Any]]) -> Sheet:
    first = group[0]
    scale, dense = SCALE[first["measure"]], first["dense"]
    rows = [["dense", f"{dense['macs']:,}", f"{dense['file_bytes']:,}", f"{scale * dense['after']:.1f}", MISSING]]
    for label, part in (("subnet", "subnets"), ("separate", "separate")):
        for index in range(min(len(record[part]) for record in group)):
            own = [record[part][index] for record in group]
            over = over_seeds(own)
            size = "table_bytes" if part == "subnets" else "file_bytes"
            rows.append(
                [
                    f"{label} {100 * first['settings']['sparsities'][index]:g} %",
                    f"{max(each['macs'] for each in own):,}",
                    f"{max(each[size] for each in own):,}",
                    f"{scale * sum(each['after'] for each in own) / len(own):.1f}",
                    f"{scale * over.mean:.1f} ± {scale * over.ci95:.1f} [{len(own)}]",
                ]
            )
    return Sheet(title(group), ["", "multiplications", "bytes", "after adaptation", "difference to dense"], rows)


def title(group: Sequence[dict[str, Any]]) -> str:
    """Return what a protocol is, and what one file takes against separate ones."""
    first = group[0]
    settings = first["settings"]
    told = f"{first['controller']}: {settings['objective']}, row {settings['row']}, gamma {settings['gamma']:g}, "
    told += f"{settings['epochs']} x {settings['iterations']} iterations"
    told += f"; one file {max(each['nested_file_bytes'] for each in group):,} bytes"
    if first["separate"]:
        told += f", separate files {max(each['separate_file_bytes'] for each in group):,}"
    return told


def over_seeds(facts: Sequence[dict[str, Any]]) -> Interval:
    """Return the paired difference to the dense controller over seeds."""
    return interval_on_shared_tasks([Interval(each["paired_difference"], each["ci95"]) for each in facts])
