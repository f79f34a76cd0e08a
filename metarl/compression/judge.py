"""The judge of a compression: two controllers on the same unseen tasks and episode seeds."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from metarl.core.errors import Refusal
from metarl.core.intervals import Interval, interval_over_tasks
from metarl.core.randomness import Purpose, generator
from metarl.envs.family import TaskFamily
from metarl.policies.compression.masks import kept_weights
from metarl.policies.controller import Controller
from metarl.policies.device.episodes import Episode
from metarl.policies.device.meter import Meter
from metarl.policies.files.checks import check_adaptable
from metarl.policies.methods import get_method
from metarl.rl.evaluation import evaluate_tasks, unseen_tasks


@dataclass(frozen=True)
class Judged:
    """What a controller takes and reaches."""

    file_bytes: int
    macs: int  # of one action; a pruned weight takes none
    adaptation_bytes: int | None  # working memory of an inner step, measured; None if a device cannot take it
    return_before: Interval  # before adaptation, over tasks
    return_after: Interval  # after it
    returns: Tensor  # after adaptation [task]


@dataclass(frozen=True)
class Verdict:
    """Two controllers, and the mean difference of their returns after adaptation, task by task."""

    before: Judged
    after: Judged

    @property
    def paired_difference(self) -> Interval:
        """The second controller's return after adaptation minus the first one's, with its 95 % interval over tasks."""
        return interval_over_tasks(self.after.returns - self.before.returns)

    @property
    def is_clear(self) -> bool:
        """Whether the interval of the difference excludes zero."""
        difference = self.paired_difference
        return abs(difference.mean) > difference.ci95


def judge(
    before: Controller, after: Controller, family: TaskFamily, tasks: int = 40, seed: int = 1, threads: int = 1
) -> Verdict:
    """Compare two controllers on the same unseen tasks and episode seeds.

    Args:
        before: The controller before compression.
        after: The one after it.
        family: The task family, as the controllers see it.
        tasks: The number of unseen tasks, at least 2.
        seed: Seed of tasks and episodes.
        threads: Threads of the simulator and of the adaptation.

    Returns:
        The verdict. Refusal if the controllers are not of one family, or a number is impossible.
    """
    if tasks < 2:
        raise Refusal(f"a paired difference needs at least 2 tasks, got {tasks}")
    if before.metadata.family != after.metadata.family:
        raise Refusal(
            f"the controllers must be of one task family, got {before.metadata.family} and {after.metadata.family}"
        )
    first, second = (judged(each, family, tasks, seed, threads) for each in (before, after))
    return Verdict(first, second)


def verdict_record(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as JSON: each fact of both controllers, and the paired difference."""
    sides = {"before": verdict.before, "after": verdict.after}
    record: dict[str, Any] = {
        name: {side: getattr(each, name) for side, each in sides.items()}
        for name in ("file_bytes", "macs", "adaptation_bytes")
    }
    for name in ("return_before", "return_after"):
        record[name] = {side: getattr(each, name).mean for side, each in sides.items()}
    difference = verdict.paired_difference
    return record | {
        "paired_difference": difference.mean,
        "ci95": difference.ci95,
        "tasks": len(verdict.before.returns),
    }


def stored_bytes(controller: Controller) -> int:
    """Return the size of the controller's file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "controller.safetensors"
        controller.save(path)
        return path.stat().st_size


def judged(controller: Controller, family: TaskFamily, tasks: int, seed: int, threads: int) -> Judged:
    """Return what a controller takes, and reaches on unseen tasks.

    Args:
        controller: The controller.
        family: Its task family, as the controller sees it.
        tasks: The number of unseen tasks, at least 2.
        seed: Seed of tasks and episodes.
        threads: Threads of the simulator and of the adaptation.
    """
    evaluation = evaluate_tasks(controller, family, unseen_tasks(family, tasks, seed), seed, threads)
    intervals = evaluation.intervals()
    return Judged(
        file_bytes=stored_bytes(controller),
        macs=sum(kept_weights(controller.parameters, controller.network).values()),
        adaptation_bytes=_adaptation_bytes(controller, seed),
        return_before=intervals[0],
        return_after=intervals[-1],
        returns=evaluation.returns[-1],
    )


def _adaptation_bytes(controller: Controller, seed: int) -> int | None:
    """Return the working memory of the first inner step, measured on random episodes of the controller's horizon."""
    try:
        check_adaptable(controller.parameters, controller.network, get_method(controller.metadata.method), True)
    except Refusal:
        return None
    random = generator(seed, Purpose.CHECK)
    metadata, horizon = controller.metadata, controller.metadata.horizon
    episodes: list[Episode] = [
        {
            "observations": random.standard_normal((horizon, controller.network.observation_size), np.float32),
            "actions": controller.network.random_actions(random, horizon),
            "rewards": random.standard_normal(horizon, np.float32),
        }
        for _ in range(metadata.episodes_per_step)
    ]
    meter = Meter()
    controller.adapt(episodes, meter=meter)
    return meter.peak
