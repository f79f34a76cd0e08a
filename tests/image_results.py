"""Filed results of images written by hand, and the command that reads them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from command_line import Outcome, metarl

from metarl.experiments.paper.cells import Scale
from metarl.experiments.paper.results import DeviceCost, ImageCost, ImageResult, Score, Trial


def trial(mean: float, ci95: float, data: str = "emoji", **other: Any) -> dict[str, Any]:
    accuracies = [{"steps": 0, "mean": 0.2, "ci95": 0.01}, {"steps": 5, "mean": mean, "ci95": ci95}]
    tasks = {"split": "test", "ways": 5, "shots": 1, "queries": 7, "seed": 1, "images_at_once": 1}
    return {"tasks": 5000, "accuracies": accuracies, "data": data, **tasks, **other}


RECORD: dict[str, Any] = {
    "data": "emoji",
    "scale": asdict(Scale()),
    "iterations": 2500,
    "best_epoch": 9,
    "trials": {
        "in-domain": trial(0.6149, 0.0026),
        "cross-domain": trial(0.5, 0.003, "icons", queries=15),
        "2 at once": trial(0.61, 0.004, images_at_once=2),
    },
    "cost": {
        "trained": {
            "layers": ["conv3", "norm3", "conv4", "norm4", "fc"],
            "peak_adaptation_bytes": 200_400,
            "adaptation_macs": 30_600_000,
            "measured_peak_adaptation_bytes": 210_499,
        },
        "paper_bytes": 1_030_000,
        "paper_macs": 251_000_000,
    },
}


def filed_trial(mean: float, ci95: float, data: str, queries: int, images_at_once: int = 1) -> Trial:
    scores = (Score(0, 0.2, 0.01), Score(5, mean, ci95))
    return Trial(5000, scores, data, "test", 5, 1, queries, 1, images_at_once)


RESULT = ImageResult(
    "emoji",
    Scale(),
    2500,
    9,
    {
        "in-domain": filed_trial(0.6149, 0.0026, "emoji", 7),
        "cross-domain": filed_trial(0.5, 0.003, "icons", 15),
        "2 at once": filed_trial(0.61, 0.004, "emoji", 7, images_at_once=2),
    },
    ImageCost(
        DeviceCost(("conv3", "norm3", "conv4", "norm4", "fc"), 200_400, 30_600_000, 210_499), 1_030_000, 251_000_000
    ),
)


def write(results: Path, name: str, record: object) -> Path:
    path = results / "images" / name / "evaluation.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(record if isinstance(record, str) else json.dumps(record))
    return path


def table(*words: object) -> Outcome:
    """The command, which must succeed; it may warn of query sets that are smaller than usual."""
    outcome = metarl("table", "images", *words)
    assert outcome.code == 0 and all("queries" in line for line in outcome.err.splitlines()), outcome
    return outcome
