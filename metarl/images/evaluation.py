"""Evaluate how well a network adapts to few-shot image tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import torch

from metarl.core.intervals import Interval, interval_over_tasks
from metarl.core.randomness import Purpose, generator
from metarl.envs.images.episodes import EpisodeShape
from metarl.envs.images.image_set import ImageSet
from metarl.images.tasks import ImageTask, Score, adapt_on_device, query_score, sample_tasks
from metarl.policies.methods import Method
from metarl.policies.networks.network import ImageNetwork, Parameters

TASKS_AT_ONCE = 16  # whose images are in memory together


@dataclass(frozen=True)
class ImageEvaluation:
    """Scores of every task, before and after adaptation."""

    before: Sequence[Score]
    after: Sequence[Score]

    def accuracies(self) -> tuple[Interval, Interval]:
        """Return mean accuracy and 95 % interval over the tasks, before and after adaptation."""
        before, after = (
            interval_over_tasks(torch.tensor([score.accuracy for score in scores], dtype=torch.float64))
            for scores in (self.before, self.after)
        )
        return before, after


def evaluate_images(
    executor: Executor,
    network: ImageNetwork,
    parameters: Parameters,
    method: Method,
    images: ImageSet,
    shape: EpisodeShape,
    tasks: int,
    seed: int,
    images_at_once: int = 1,
    on_tasks: Callable[[int], None] = lambda done: None,
) -> ImageEvaluation:
    """Adapt a network to tasks of a split, as a device does.

    Args:
        executor: Threads that take one thread of torch each, each with a task of its own.
        network: The network.
        parameters: Its parameters, those of the inner loop among them.
        method: Which layers are updated, and what weighs their channels.
        images: The split.
        shape: Ways, shots and queries of a task.
        tasks: How many tasks.
        seed: Seed of the tasks.
        images_at_once: Images that the device has in work at a time.
        on_tasks: Is told how many tasks are done, and may raise to stop there.

    Returns:
        The scores before and after adaptation.
    """

    def both(task: ImageTask) -> tuple[Score, Score]:
        adapted = adapt_on_device(network, parameters, method, task.support, images_at_once)
        return query_score(network, parameters, task.query), query_score(network, adapted, task.query)

    scores: list[tuple[Score, Score]] = []
    for start in range(0, tasks, TASKS_AT_ONCE):
        random = generator(seed, Purpose.EVALUATION, start // TASKS_AT_ONCE)
        chunk = sample_tasks(images, shape, min(TASKS_AT_ONCE, tasks - start), random)
        scores += executor.map(both, chunk)
        on_tasks(len(scores))
    before, after = zip(*scores, strict=True)
    return ImageEvaluation(before, after)
