"""What one short training on each family gained: read from the runs that are filed, and shown as a table.

A filed run is a folder with what ``metarl train`` leaves (settings and logs) and ``evaluation.json``, which
``metarl evaluate --json`` writes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from metarl.core.errors import Refusal
from metarl.core.intervals import Interval, interval_over_tasks
from metarl.experiments.analysis.logs import read_log
from metarl.experiments.console.sheets import Sheet
from metarl.runs.folder import PROGRESS, TIMINGS

EVALUATION = "evaluation.json"
CAPTION = """\
A short training with few episodes, filed in experiments/results/families: the return after adaptation in its first
iteration, then mean returns on unseen tasks before and after one inner step, what the step gains per task, each with
its 95 % interval over the tasks, the share of the tasks that it makes worse, and environment steps per second of the
training's one thread."""


@dataclass(frozen=True)
class FamilyTraining:
    """A training on a family, and the evaluation of its controller on unseen tasks."""

    family: str
    method: str
    iterations: int
    first_return: float  # after adaptation, in the first iteration
    before: Interval  # mean return on unseen tasks before adaptation
    after: Interval
    gain: Interval  # by which adaptation changes a task's return
    worse: float  # share of the tasks that adaptation makes worse
    steps_per_second: float  # of the environment, in the training's median iteration


def filed_trainings(folder: Path) -> list[FamilyTraining]:
    """Return the trainings that are filed in the sub-folders of a folder, by their names; none if it is not there.

    Raise Refusal that names a file that cannot be read.
    """
    return [filed_training(run) for run in sorted(folder.glob("*")) if (run / EVALUATION).is_file()]


def filed_training(run: Path) -> FamilyTraining:
    """Return what is filed in a folder; raise Refusal that names the file that cannot be read."""
    progress, timings = read_log(run / PROGRESS), read_log(run / TIMINGS)
    for name, log in ((PROGRESS, progress), (TIMINGS, timings)):
        if log.damage or not log.columns:
            raise Refusal(f"{run / name} {log.damage or 'is missing or empty'}")
    try:
        content = json.loads((run / EVALUATION).read_text())
        returns = torch.tensor([task["returns"] for task in content["task_returns"]], dtype=torch.float64)
        before, after = returns[:, 0], returns[:, -1]
        family, method = str(content["family"]), str(content["method"])
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise Refusal(f"{run / EVALUATION} is not what metarl evaluate --json writes: {error!r}") from None
    last = max(name for name in progress.columns if name.startswith("return_") and not name.endswith("_ci95"))
    return FamilyTraining(
        family=family,
        method=method,
        iterations=int(progress.columns["iteration"][-1]),
        first_return=float(progress.columns[last][0]),
        before=interval_over_tasks(before),
        after=interval_over_tasks(after),
        gain=interval_over_tasks(after - before),
        worse=float((after < before).double().mean()),
        steps_per_second=float(np.nanmedian(timings.columns["env_steps_per_second"])),
    )


def trainings_sheet(trainings: list[FamilyTraining]) -> Sheet:
    """Return a row per training."""
    headings = ["family", "method", "iterations", "at first", "before", "after", "gain", "worse", "steps/s"]
    rows = [
        [
            f"`{each.family}`",
            f"`{each.method}`",
            str(each.iterations),
            f"{each.first_return:.1f}",
            interval(each.before),
            interval(each.after),
            interval(each.gain),
            f"{each.worse:.0%}",
            f"{each.steps_per_second:,.0f}",
        ]
        for each in trainings
    ]
    return Sheet("What a short training gains", headings, rows, words=2)


def told(training: FamilyTraining) -> str:
    """Return what a training gained in words."""
    returns = f"{interval(training.before)} → {interval(training.after)}"
    return f"{training.method}, {training.iterations} iterations: {returns}, gain {interval(training.gain)}"


def interval(value: Interval) -> str:
    """Write a mean with half the width of its 95 % interval."""
    return f"{value.mean:.1f} ± {value.ci95:.1f}"
