"""The judge of nested subnets: each against the dense controller, beside separate controllers of the same budgets."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from metarl.compression.judge import Judged, Verdict, judged
from metarl.compression.nest_settings import NestSettings
from metarl.compression.rounds import prune_in_rounds
from metarl.compression.settings import PruneSettings
from metarl.compression.tasks import Tasks
from metarl.policies.classifier import Classifier
from metarl.policies.controller import Controller
from metarl.policies.nested import Nested


def separate_controllers(
    dense: Controller | Classifier, tasks: Tasks, settings: NestSettings, iterations: int, threads: int
) -> list[Controller | Classifier]:
    """Return the baseline: for each sparsity, the dense controller pruned by magnitude in one shot.

    Args:
        dense: The controller.
        tasks: Its task family, as it sees it, or its images.
        settings: The sparsities and the seed.
        iterations: Meta-iterations after each pruning.
        threads: Threads of the simulator and of the training.
    """
    prunings = (
        PruneSettings(sparsity=each, criterion="magnitude", rounds=1, iterations=iterations, seed=settings.seed)
        for each in settings.sparsities
    )
    return [prune_in_rounds(dense, tasks, each, threads) for each in prunings]


def nested_record(
    controller: str,
    settings: NestSettings,
    nested: Nested,
    dense: Judged,
    subnets: Sequence[Judged],
    separate: Sequence[Judged],
) -> dict[str, Any]:
    """Return what all subnets take and reach as JSON, beside the dense controller and the separate ones.

    Args:
        controller: The dense controller, as the user names it.
        settings: How the subnets were trained.
        nested: The nested controller.
        dense: What the dense controller takes and reaches.
        subnets: The same of each subnet.
        separate: The same of each separate controller; none if they were not made.
    """
    numbers = range(1, nested.count + 1)
    views = [nested.subnet(number) for number in numbers]
    return {
        "controller": controller,
        "settings": asdict(settings),
        "measure": dense.measure,
        "tasks": len(dense.returns),
        "dense": described(dense, dense),
        "subnets": [
            {"number": view.number, "reached_sparsity": view.sparsity, "table_bytes": view.table_bytes}
            | described(each, dense)
            for view, each in zip(views, subnets, strict=True)
        ],
        "separate": [described(each, dense) for each in separate],
        "nested_file_bytes": nested_bytes(nested),
        "separate_file_bytes": sum(each.file_bytes for each in separate) if separate else None,
    }


def described(side: Judged, dense: Judged) -> dict[str, Any]:
    """Return what a controller takes and reaches, and its paired difference to the dense one, as JSON."""
    difference = Verdict(dense, side).paired_difference
    return {
        "file_bytes": side.file_bytes,
        "macs": side.macs,
        "adaptation_bytes": side.adaptation_bytes,
        "before": side.return_before.mean,
        "after": side.return_after.mean,
        "after_ci95": side.return_after.ci95,
        "paired_difference": difference.mean,
        "ci95": difference.ci95,
    }


def judged_subnets(nested: Nested, tasks: Tasks, count: int, seed: int, threads: int) -> list[Judged]:
    """Return what each subnet takes and reaches on unseen tasks; the arguments are those of ``judged``."""
    subnets = (nested.subnet(number).controller() for number in range(1, nested.count + 1))
    return [judged(each, tasks, count, seed, threads) for each in subnets]


def nested_bytes(nested: Nested) -> int:
    """Return the size of the one file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "nested.safetensors"
        nested.save(path)
        return path.stat().st_size
