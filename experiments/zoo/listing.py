"""The controllers that ship with metarl, in a table: what they were trained for, what they reach, what they take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metarl.experiments.analysis.costs import device_record
from metarl.experiments.analysis.model_card import Sources, evaluation_record
from metarl.experiments.console.sheets import MISSING, Sheet
from metarl.experiments.zoo.sources import sources_of
from metarl.policies.device.step import CHUNK
from metarl.policies.files.pretrained import pretrained_files

CAPTION = (
    "Mean returns on unseen tasks, with 95 % intervals over tasks, before adaptation and after the inner steps. Memory "
    f"in kB: what an inner step takes at its peak with {CHUNK} observations in work at a time. Files in kB."
)


@dataclass(frozen=True)
class Entry:
    """A controller of the zoo."""

    name: str
    family: str
    method: str
    seed: int | None
    iterations: int | None
    returns: tuple[dict[str, Any], ...]  # of ``steps``, ``mean`` and ``ci95``; none if it has not been evaluated
    tasks: int | None  # that the returns are over
    working_bytes: int
    file_bytes: int


def entries() -> list[Entry]:
    """Return all controllers that ship, by their names."""
    return [entry(sources_of(Path(name))) for name in pretrained_files()]


def entry(sources: Sources) -> Entry:
    """Return what is recorded of a controller that ships."""
    metadata, evaluation = sources.controller.metadata, evaluation_record(sources.folder)
    return Entry(
        name=sources.name,
        family=metadata.family,
        method=metadata.method,
        seed=metadata.training.get("seed"),
        iterations=metadata.training.get("iterations"),
        returns=tuple(evaluation["returns"]) if evaluation else (),
        tasks=evaluation["tasks"] if evaluation else None,
        working_bytes=device_record(sources.controller, (), CHUNK)["working_bytes"],
        file_bytes=pretrained_files()[sources.name].stat().st_size,
    )


def zoo_sheets(listed: Sequence[Entry]) -> list[Sheet]:
    """Return a sheet for each family, with a row per controller."""
    families = sorted({each.family for each in listed})
    return [_family_sheet(family, [each for each in listed if each.family == family]) for family in families]


def _family_sheet(family: str, listed: Sequence[Entry]) -> Sheet:
    headings = ["controller", "seed", "iterations", "before", "after", "memory", "file"]
    rows = []
    for each in listed:
        scores = [f"{score['mean']:.1f} ± {score['ci95']:.1f}" for score in each.returns]
        rows.append(
            [
                each.name.removeprefix(f"{family}/"),
                MISSING if each.seed is None else str(each.seed),
                MISSING if each.iterations is None else str(each.iterations),
                scores[0] if scores else MISSING,
                scores[-1] if scores else MISSING,
                f"{each.working_bytes / 1000:.1f}",
                f"{each.file_bytes / 1000:.1f}",
            ]
        )
    return Sheet(f"{family}/", headings, rows)
