"""Run folders written by hand, with numbers that are easy to follow."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from metarl.settings import TrainSettings

COLUMNS = (
    "iteration,return_0,return_0_ci95,return_1,return_1_ci95,kl,loss_before,loss_after,line_search_trials,"
    "step_accepted,skipped,action_std,env_steps,step_size_layer1_1,step_size_layer2_1"
)
PHASES = ["sampling", "advantages", "inner_loop", "meta_gradient", "conjugate_gradient", "line_search"]


def progress_line(iteration: int, after: float, *, skipped: int = 0, step_size: float = 0.1) -> str:
    """A row whose return before adaptation is twice the one after, with an interval of 1."""
    return f"{iteration},{2 * after},1.0,{after},1.0,0.005,0.0,-0.01,2,1,{skipped},0.9,1000,{step_size},0.0"


def write_run(
    folder: Path,
    *,
    after: Sequence[float] = (-30.0, -20.0, -10.0),
    method: str = "maml",
    seed: int = 0,
    family: str = "navigation-2d",
    settings: Mapping[str, Any] = {},
    seconds: float = 0.5,
) -> Path:
    """A run of ``iterations`` 3 whose returns after adaptation are ``after``; each phase takes ``seconds``."""
    folder.mkdir(parents=True)
    config = {
        "family": family,
        "settings": asdict(TrainSettings(iterations=3, method=method, seed=seed)) | dict(settings),
        "versions": {"metarl": "0.1.0"},
        "machine": "x86_64",
    }
    (folder / "config.json").write_text(json.dumps(config))
    rows = [progress_line(number, value) for number, value in enumerate(after, start=1)]
    (folder / "progress.csv").write_text("".join(f"{line}\n" for line in (COLUMNS, *rows)))
    header = ",".join(["iteration", *(f"{phase}_seconds" for phase in PHASES), "env_steps_per_second"])
    timings = [",".join([str(number), *[str(seconds)] * 6, "2000.0"]) for number in range(1, len(after) + 1)]
    (folder / "timings.csv").write_text("".join(f"{line}\n" for line in (header, *timings)))
    return folder
