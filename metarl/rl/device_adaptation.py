"""Adapting one policy to many tasks as a device does, where only a device's step can: in integers."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor

import numpy as np

from metarl.envs.family import Array
from metarl.policies.controller import Controller
from metarl.rl.adaptation import stack
from metarl.rl.episodes import Episodes
from metarl.rl.sampling import ALL, Sampler


def adapt_on_device(
    controller: Controller,
    tasks: Array,
    sampler: Sampler,
    executor: Executor,
    random: np.random.Generator,
    share: slice = ALL,
) -> tuple[list[Episodes], list[Sequence[Controller]]]:
    """Take all inner steps for every task by ``Controller.adapt``, each on fresh episodes, and sample once more.

    Args:
        controller: Where every task starts.
        tasks: [task, field].
        sampler: What rolls the policies out.
        executor: Threads, each with a task of its own.
        random: What episodes' seeds and noise are drawn from; stochastic rounding takes a seed from it per task.
        share: The tasks that are adapted to here; random numbers are drawn for all.

    Returns:
        The episodes of the share after 0, 1, ... K inner steps, and the controllers [inner step][task] that met them.
    """
    adapted: list[Sequence[Controller]] = [[controller] * len(tasks[share])]
    episodes: list[Episodes] = []
    for step in range(controller.metadata.inner_steps + 1):
        parameters = stack([each.parameters for each in adapted[-1]])
        count = controller.metadata.episodes_per_step
        episodes.append(sampler.sample(parameters, tasks, count, random, share=share))
        if step == controller.metadata.inner_steps:
            break
        # Not drawn from the stream, so that float and integer controllers meet the same noise of actions.
        seeds = random.spawn(1)[0].integers(2**32, size=len(tasks))[share].tolist()

        def taken(task: int, step: int = step, seeds: Sequence[int] = tuple(seeds)) -> Controller:
            return adapted[-1][task].adapt(episodes[-1].recorded(task), step, seed=seeds[task])

        adapted.append(list(executor.map(taken, range(len(seeds)))))
    return episodes, adapted
