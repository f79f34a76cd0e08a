"""Run folders written by hand, with numbers that are easy to follow."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from metarl.images.settings import ImageSettings
from metarl.rl.settings import TrainSettings

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


def write_image_run(
    folder: Path,
    *,
    validation: Sequence[float] = (0.3, 0.5, 0.4),
    seed: int = 0,
    per_epoch: int = 2,
    layers: Mapping[str, Sequence[float]] = {"conv1": (0.1, 0.3), "norm1": (0.0, 0.0), "fc": (0.2, 0.2)},
    grows: bool = True,
    kept: Mapping[str, float] = {},
    **settings: Any,
) -> Path:
    """A run of 3 epochs on images, with an epoch for each accuracy in ``validation``.

    Training accuracies before adaptation are 0.2, after it the iteration / 100. ``layers`` have the step sizes of two
    inner steps after the first epoch, which then grow in proportion to the epoch, unless ``grows`` is false; ``kept``
    has columns such as ``input_conv1``. An iteration takes 1 s, a validation 3 s.
    """
    folder.mkdir(parents=True)
    chosen = ImageSettings(data=Path("/somewhere/else/letters"), epochs=3, inner_steps=2, seed=seed, **settings)
    config = {"family": "images", "settings": asdict(chosen), "versions": {"metarl": "0.1.0"}, "machine": "x86_64"}
    (folder / "config.json").write_text(json.dumps(config, default=str))
    numbers = (1, 2)
    columns = [f"step_size_{layer}_{number}" for layer in layers for number in numbers]
    columns += [f"kept_{name}_{number}" for name in kept for number in numbers]
    rows = [
        "iteration,epoch,loss_before,loss_after,accuracy_before,accuracy_after,validation_accuracy,"
        f"validation_accuracy_ci95,learning_rate,skipped,{','.join(columns)}"
    ]
    timings = ["iteration,sampling_seconds,meta_gradient_seconds,adam_seconds,validation_seconds"]
    for epoch, accuracy in enumerate(validation, start=1):
        for place in range(per_epoch):
            iteration = (epoch - 1) * per_epoch + place + 1
            is_last = place == per_epoch - 1
            ends = [(epoch if grows else 1) * size for sizes in layers.values() for size in sizes]
            ends += [share for share in kept.values() for _ in numbers]
            after = [accuracy, 0.05] if is_last else ["", ""]
            cells = [iteration, epoch, 2.0, 1.0, 0.2, iteration / 100, *after, 0.001, 0]
            rows.append(",".join(map(str, [*cells, *(ends if is_last else [""] * len(ends))])))
            timings.append(f"{iteration},0.25,0.5,0.25,{3.0 if is_last else ''}")
    (folder / "progress.csv").write_text("".join(f"{row}\n" for row in rows))
    (folder / "timings.csv").write_text("".join(f"{row}\n" for row in timings))
    return folder
