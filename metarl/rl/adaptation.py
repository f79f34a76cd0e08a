"""Adapting one policy to many tasks: roll out, estimate advantages, take an inner step, roll out again."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import torch

from metarl.core.clock import Clock
from metarl.envs.family import Array
from metarl.inner_loop import InnerStep, Scores, as_leaves, inner_step
from metarl.policies.advantages import BaselineFeatures
from metarl.policies.methods import Method
from metarl.policies.networks.network import Parameters
from metarl.reptile import center, pulled, pulls
from metarl.rl.batch import Batch, prepare_batch
from metarl.rl.episodes import Episodes
from metarl.rl.sampling import ALL, Sampler


@dataclass(frozen=True)
class AdaptationSettings:
    """What a controller's adaptation depends on, besides its parameters."""

    method: Method
    inner_steps: int
    episodes_per_task: int
    discount: float
    gae_lambda: float
    baseline: BaselineFeatures = "full"
    weight_clustering: float = 0.0  # Reptile's, in training


@dataclass(frozen=True)
class Adaptation:
    """The outcome for a batch of tasks."""

    episodes: tuple[Episodes, ...]  # after 0, 1, ... K inner steps
    batches: tuple[tuple[Batch, ...], ...]  # the same, as [step][task] with advantages; the last may be left out
    scores: tuple[tuple[Scores, ...], ...]  # of the channels, as [step][task]
    parameters: tuple[tuple[Parameters, ...], ...]  # [step][task], before the first inner step and after each


def adapt_to_tasks(
    parameters: Parameters,
    tasks: Array,
    settings: AdaptationSettings,
    sampler: Sampler,
    executor: Executor,
    generator: np.random.Generator,
    clock: Clock,
    query_advantages: bool = True,
    share: slice = ALL,
) -> Adaptation:
    """Take K inner steps for every task, each on freshly sampled episodes, and sample once more.

    Args:
        parameters: Where every task starts, those of the inner loop among them.
        tasks: [task, field].
        settings: What the adaptation depends on.
        sampler: What rolls the policies out.
        executor: Threads, each with a task of its own.
        generator: What episodes' seeds and noise are drawn from.
        clock: Takes the time of each phase.
        query_advantages: Whether the last episodes are prepared as batches, too.
        share: The tasks that are adapted to, alike whatever else is in their share.

    Returns:
        Episodes, batches, scores and parameters by inner step.
    """
    course = adapting(parameters, tasks, settings, sampler, executor, generator, clock, query_advantages, share)
    try:
        starts = next(course)
        while True:
            starts = course.send(center(sampler.network, starts))
    except StopIteration as done:
        adaptation: Adaptation = done.value
        return adaptation


def adapting(
    parameters: Parameters,
    tasks: Array,
    settings: AdaptationSettings,
    sampler: Sampler,
    executor: Executor,
    generator: np.random.Generator,
    clock: Clock,
    query_advantages: bool,
    share: slice,
) -> Generator[tuple[Parameters, ...], Parameters, Adaptation]:
    """Do what ``adapt_to_tasks`` does, and stop wherever weight clustering needs the tasks outside of the share.

    Args:
        parameters: Where every task starts, those of the inner loop among them.
        tasks: [task, field].
        settings: What the adaptation depends on.
        sampler: What rolls the policies out.
        executor: Threads, each with a task of its own.
        generator: What episodes' seeds and noise are drawn from.
        clock: Takes the time of each phase.
        query_advantages: Whether the last episodes are prepared as batches, too.
        share: The tasks that are adapted to.

    Yields:
        The parameters of the share's tasks before an inner step that pulls all tasks together; ``reptile.center`` of
        all tasks' is to be sent back.

    Returns:
        Episodes, batches, scores and parameters by inner step.
    """
    network = sampler.network
    own = range(len(tasks))[share]
    adapted = [tuple(as_leaves(parameters) for _ in own)]
    episodes: list[Episodes] = []
    batches: list[tuple[Batch, ...]] = []
    scores: list[tuple[Scores, ...]] = []
    for step in range(settings.inner_steps + 1):
        with clock.phase("sampling"):
            policies = stack(adapted[-1])
            episodes.append(sampler.sample(policies, tasks, settings.episodes_per_task, generator, share=share))
        if step == settings.inner_steps and not query_advantages:
            break
        with clock.phase("advantages"):
            batches.append(
                tuple(
                    executor.map(
                        lambda task: prepare_batch(
                            episodes[-1],
                            task,
                            settings.discount,
                            settings.gae_lambda,
                            parameters,
                            settings.baseline,
                        ),
                        range(len(own)),
                    )
                )
            )
        if step < settings.inner_steps:

            def step_from(start: Parameters, batch: Batch, step: int = step) -> InnerStep:
                taken = inner_step(network, start, settings.method, step, batch, second_order=False)
                return taken._replace(parameters=as_leaves(taken.parameters))

            with clock.phase("inner loop"):
                steps = tuple(executor.map(step_from, adapted[-1], batches[-1]))
            taken = [each.parameters for each in steps]
            if pulls(settings.weight_clustering, step, len(tasks)):
                middle, weight = (yield adapted[-1]), settings.weight_clustering
                taken = [pulled(network, *pair, middle, weight, step) for pair in zip(taken, adapted[-1], strict=True)]
            adapted.append(tuple(as_leaves(each) for each in taken))
            scores.append(tuple(each.scores for each in steps))
    return Adaptation(tuple(episodes), tuple(batches), tuple(scores), tuple(adapted))


def stack(parameters: Sequence[Parameters]) -> Parameters:
    """Return one set of parameters with a leading task axis."""
    return {name: torch.stack([each[name].detach() for each in parameters]) for name in parameters[0]}
