"""How well a controller adapts: to many unseen tasks, or to one that is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from metarl.core.clock import Clock
from metarl.core.intervals import Interval, interval_over_tasks
from metarl.core.randomness import Purpose, generator
from metarl.core.threads import single_threaded_torch
from metarl.envs.family import Array, TaskFamily
from metarl.policies.controller import Controller, check_spaces
from metarl.policies.methods import get_method
from metarl.rl.adaptation import AdaptationSettings, adapt_to_tasks
from metarl.rl.iteration import task_returns
from metarl.rl.sampling import Sampler, for_each_task
from metarl.rl.training import with_horizon

TASKS_AT_ONCE = 40


@dataclass(frozen=True)
class Evaluation:
    """Returns after 0, 1, ... K inner steps on each of many tasks."""

    tasks: Array  # [task, field]
    returns: Tensor  # [inner step, task], each the mean over the task's episodes

    def intervals(self) -> tuple[Interval, ...]:
        """Mean and 95 % interval over tasks, by the number of inner steps."""
        return tuple(interval_over_tasks(returns) for returns in self.returns)


def evaluate_tasks(
    controller: Controller,
    family: TaskFamily,
    tasks: Array,
    seed: int,
    threads: int,
    on_tasks: Callable[[int], None] = lambda done: None,
) -> Evaluation:
    """Adapts the controller to each task [task, field]. ``on_tasks`` is told how many tasks are done."""
    returns = []
    with (
        single_threaded_torch(),
        Sampler(family, controller.network, controller.metadata.action_scale, threads) as sampler,
        ThreadPoolExecutor(threads) as executor,
    ):
        for index, start in enumerate(range(0, len(tasks), TASKS_AT_ONCE)):
            chunk = tasks[start : start + TASKS_AT_ONCE]
            adaptation = adapt_to_tasks(
                controller.parameters,
                chunk,
                adaptation_settings(controller),
                sampler,
                executor,
                generator(seed, Purpose.ADAPTATION, index),
                Clock(),
                query_advantages=False,
            )
            returns.append(torch.stack([task_returns(episodes) for episodes in adaptation.episodes]))
            on_tasks(start + len(chunk))
    return Evaluation(tasks, torch.cat(returns, dim=1))


def unseen_tasks(family: TaskFamily, count: int, seed: int) -> Array:
    """``count`` tasks [task, field] of an evaluation; they come from another random stream than the training's."""
    return family.sample_tasks(count, generator(seed, Purpose.EVALUATION))


def adapt_to_task(
    controller: Controller, family: TaskFamily, task: Mapping[str, float], seed: int, threads: int
) -> tuple[Controller, Evaluation]:
    """The controller after its K inner steps on one task, as on a device, and the returns on the way."""
    tasks = family.task_array(task)[np.newaxis]
    metadata = controller.metadata
    random = generator(seed, Purpose.ADAPTATION)
    adapted, returns = replace(controller, metadata=replace(metadata, adapted_to=family.task_dict(tasks[0]))), []
    with (
        single_threaded_torch(),
        Sampler(family, controller.network, metadata.action_scale, threads) as sampler,
    ):
        for step in range(metadata.inner_steps + 1):
            episodes = sampler.sample(for_each_task(adapted.parameters, 1), tasks, metadata.episodes_per_step, random)
            returns.append(task_returns(episodes))
            if step < metadata.inner_steps:
                adapted = adapted.adapt(episodes.recorded(task=0), step)
    return adapted, Evaluation(tasks, torch.stack(returns))


def adaptation_settings(controller: Controller) -> AdaptationSettings:
    """How the controller was meta-trained to be adapted."""
    metadata = controller.metadata
    return AdaptationSettings(
        get_method(metadata.method),
        metadata.inner_steps,
        metadata.episodes_per_step,
        metadata.discount,
        metadata.gae_lambda,
    )


def family_of(controller: Controller, family: TaskFamily) -> TaskFamily:
    """The family at the controller's horizon; ValueError if its spaces are not those the controller was made for."""
    observation_shape, action_shape = family.observation_space.shape, family.action_space.shape
    check_spaces(controller, observation_shape, action_shape, family.name)
    return with_horizon(family, controller.metadata.horizon)
