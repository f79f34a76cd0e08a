"""The judge of a compression: two controllers on the same unseen tasks and episode seeds."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from metarl.compression.images import image_scores
from metarl.compression.tasks import Tasks, described, family_of, images_of
from metarl.core.errors import Refusal
from metarl.core.intervals import Interval, interval_over_tasks
from metarl.core.randomness import Purpose, generator
from metarl.policies.classifier import Classifier
from metarl.policies.compression.bases import stored_layers
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
    macs: int  # of one action; a pruned weight takes none, and of binary bases each coordinate one
    adaptation_bytes: int | None  # working memory of an inner step, measured; None if a device cannot take it
    return_before: Interval  # before adaptation, over tasks; of an image network the accuracy, here and below
    return_after: Interval  # after it
    returns: Tensor  # after adaptation [task]
    measure: Literal["return", "accuracy"] = "return"


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
    before: Controller | Classifier,
    after: Controller | Classifier,
    where: Tasks,
    tasks: int = 40,
    seed: int = 1,
    threads: int = 1,
) -> Verdict:
    """Compare two controllers on the same unseen tasks and episode seeds.

    Args:
        before: The controller before compression.
        after: The one after it.
        where: The task family of policies, as they see it, or the images of image networks.
        tasks: The number of unseen tasks, at least 2.
        seed: Seed of tasks and episodes.
        threads: Threads of the simulator and of the adaptation.

    Returns:
        The verdict. Refusal if the controllers are not for the same tasks, or a number is impossible.
    """
    if tasks < 2:
        raise Refusal(f"a paired difference needs at least 2 tasks, got {tasks}")
    if described(before) != described(after):
        raise Refusal(f"the controllers must be for the same tasks, got {described(before)} and {described(after)}")
    first, second = (judged(each, where, tasks, seed, threads) for each in (before, after))
    return Verdict(first, second)


def verdict_record(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as JSON: each fact of both controllers, and the paired difference."""
    sides = {"before": verdict.before, "after": verdict.after}
    record: dict[str, Any] = {
        name: {side: getattr(each, name) for side, each in sides.items()}
        for name in ("file_bytes", "macs", "adaptation_bytes")
    }
    for name in ("return_before", "return_after"):
        measured = name.replace("return", verdict.before.measure)
        record[measured] = {side: getattr(each, name).mean for side, each in sides.items()}
    difference = verdict.paired_difference
    return record | {
        "paired_difference": difference.mean,
        "ci95": difference.ci95,
        "tasks": len(verdict.before.returns),
    }


def stored_bytes(controller: Controller | Classifier) -> int:
    """Return the size of the controller's file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "controller.safetensors"
        controller.save(path)
        return path.stat().st_size


def judged(controller: Controller | Classifier, where: Tasks, tasks: int, seed: int, threads: int) -> Judged:
    """Return what a controller takes, and reaches on unseen tasks.

    Args:
        controller: The controller.
        where: Its task family, as the controller sees it, or its images.
        tasks: The number of unseen tasks, at least 2.
        seed: Seed of tasks and episodes.
        threads: Threads of the simulator and of the adaptation.
    """
    scores: Sequence[Tensor]
    if isinstance(controller, Classifier):
        scores = image_scores(controller, images_of(where), tasks, seed, threads)
    else:
        family = family_of(where)
        scores = list(evaluate_tasks(controller, family, unseen_tasks(family, tasks, seed), seed, threads).returns)
    layers = stored_layers(controller.network.layers, controller.parameters)
    return Judged(
        file_bytes=stored_bytes(controller),
        macs=sum(layer.moving_weights * layer.positions for layer in layers if not layer.is_norm),
        adaptation_bytes=_adaptation_bytes(controller, seed),
        return_before=interval_over_tasks(scores[0]),
        return_after=interval_over_tasks(scores[-1]),
        returns=scores[-1],
        measure="accuracy" if isinstance(controller, Classifier) else "return",
    )


def _adaptation_bytes(controller: Controller | Classifier, seed: int) -> int | None:
    """Return the working memory of the inner steps, measured on random episodes or on random images, one at a time."""
    try:
        check_adaptable(controller.parameters, controller.network, get_method(controller.metadata.method), True)
    except Refusal:
        return None
    random, meter = generator(seed, Purpose.CHECK), Meter()
    if isinstance(controller, Classifier):
        network = controller.network
        labels = np.repeat(np.arange(network.ways), controller.metadata.shots)
        images = random.uniform(-1, 1, (len(labels), 3, network.side, network.side)).astype(np.float32)
        controller.adapt(images, labels, meter=meter)
        return meter.peak
    metadata, horizon = controller.metadata, controller.metadata.horizon
    episodes: list[Episode] = [
        {
            "observations": random.standard_normal((horizon, controller.network.observation_size), np.float32),
            "actions": controller.network.random_actions(random, horizon),
            "rewards": random.standard_normal(horizon, np.float32),
        }
        for _ in range(metadata.episodes_per_step)
    ]
    controller.adapt(episodes, meter=meter)
    return meter.peak
