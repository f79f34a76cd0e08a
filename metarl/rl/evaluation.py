"""How well a controller adapts: to many unseen tasks, or to one that is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from metarl.core.clock import Clock
from metarl.core.errors import Refusal
from metarl.core.intervals import Interval, interval_over_tasks, student_t
from metarl.core.randomness import Purpose, generator
from metarl.core.text import facts_as_html, facts_as_text, plural
from metarl.core.threads import single_threaded_torch
from metarl.envs.family import Array, TaskFamily
from metarl.policies.controller import Controller, check_spaces
from metarl.policies.methods import get_method
from metarl.policies.networks.integers import IntegerMLP
from metarl.policies.networks.network import Parameters
from metarl.rl.adaptation import AdaptationSettings, adapt_to_tasks, stack
from metarl.rl.dealt import shares, stacked
from metarl.rl.device_adaptation import adapt_on_device
from metarl.rl.episodes import Episodes
from metarl.rl.iteration import success_intervals
from metarl.rl.sampling import ALL, Sampler, for_each_task
from metarl.rl.training import as_method_sees, with_horizon
from metarl.rl.workers import task_successes
from metarl.workers.pool import Cluster, repeated

TASKS_AT_ONCE = 40
MOST_TASKS = 1_000_000


@dataclass(frozen=True, repr=False)
class Evaluation:
    """Returns and success rates after 0, 1, ... K inner steps on each of many tasks."""

    tasks: Array  # [task, field]
    returns: Tensor  # [inner step, task], each the mean over the task's episodes
    successes: Tensor  # [inner step, task], the same of success; NaN if the environment does not tell
    errors: Tensor  # [inner step, task], the standard error of each return; NaN of a single episode
    episodes: int  # of each task, after each inner step

    def intervals(self) -> tuple[Interval, ...]:
        """Return the mean and 95 % interval over tasks, by the number of inner steps."""
        return tuple(interval_over_tasks(returns) for returns in self.returns)

    def success_intervals(self) -> tuple[Interval, ...]:
        """Return the success rate and its 95 % interval over tasks, by inner steps; empty if it is not known."""
        return success_intervals(self.successes)

    def ci95(self) -> Tensor:
        """Return half the width of the 95 % interval over episodes of each return [inner step, task]."""
        return student_t(max(1, self.episodes - 1)) * self.errors

    def worsened(self) -> Tensor:
        """Return whether adaptation lowered each task's return by more than the interval of the difference [task].

        That is Student's t with 2 (episodes - 1) degrees of freedom; never of a single episode.
        """
        loss = self.returns[0] - self.returns[-1]
        error = (self.errors[0].square() + self.errors[-1].square()).sqrt()
        return loss > student_t(max(1, 2 * (self.episodes - 1))) * error

    def __repr__(self) -> str:
        return facts_as_text("Evaluation", self._facts())

    def _repr_html_(self) -> str:
        return facts_as_html("Evaluation", self._facts())

    def _facts(self) -> dict[str, str]:
        means = {
            f"return after {plural(steps, 'inner step')}": f"{each.mean:.4g} ± {each.ci95:.2g}"
            for steps, each in enumerate(self.intervals())
        }
        rates = {
            f"success after {plural(steps, 'inner step')}": f"{100 * each.mean:.3g} ± {100 * each.ci95:.2g} %"
            for steps, each in enumerate(self.success_intervals())
        }
        return {"tasks": str(len(self.tasks))} | means | rates


class TaskMeter:
    """Adapts a controller to tasks and measures its returns; the object of a worker."""

    def __init__(
        self, controller: Controller, family: TaskFamily, seed: int, threads: int, deterministic: bool = False
    ) -> None:
        self.controller, self.seed, self.deterministic = controller, seed, deterministic
        scale = controller.metadata.action_scale
        with ExitStack() as stack:
            stack.enter_context(single_threaded_torch())
            self.sampler = stack.enter_context(Sampler(family, controller.network, scale, threads))
            self.executor = stack.enter_context(ThreadPoolExecutor(threads))
            self.close = stack.pop_all().close

    def measure(self, tasks: Array, index: int, share: slice = ALL) -> Tensor:
        """Return returns, success rates and standard errors [task, 3, inner step] of a share of tasks [task, field].

        ``index`` tells the random numbers of these tasks from those of others.
        """
        controller, random = self.controller, generator(self.seed, Purpose.ADAPTATION, index)
        sampled, adapted = self._adapted(tasks, random, share)
        if self.deterministic:
            count = controller.metadata.episodes_per_step
            sampled = [
                self.sampler.sample(stack(parameters), tasks, count, random, deterministic=True, share=share)
                for parameters in adapted
            ]
        told = measured(tasks[share], sampled)
        return torch.stack([told.returns, told.successes, told.errors]).permute(2, 0, 1)

    def _adapted(
        self, tasks: Array, random: np.random.Generator, share: slice
    ) -> tuple[Sequence[Episodes], Sequence[Sequence[Parameters]]]:
        """Return episodes and parameters [inner step][task] after 0, 1, ... K inner steps; in integers as a device."""
        controller, sampler, executor = self.controller, self.sampler, self.executor
        if isinstance(controller.network, IntegerMLP):
            episodes, controllers = adapt_on_device(controller, tasks, sampler, executor, random, share)
            return episodes, [[each.parameters for each in step] for step in controllers]
        settings, start = adaptation_settings(controller), controller.parameters
        adaptation = adapt_to_tasks(
            start, tasks, settings, sampler, executor, random, Clock(), query_advantages=False, share=share
        )
        return adaptation.episodes, adaptation.parameters


def evaluate_tasks(
    controller: Controller,
    family: TaskFamily,
    tasks: Array,
    seed: int,
    threads: int,
    on_tasks: Callable[[int], None] = lambda done: None,
    deterministic: bool = False,
    cluster: Cluster | None = None,
) -> Evaluation:
    """Adapt a controller to each of the tasks.

    Args:
        controller: The controller.
        family: The tasks' family, at the controller's horizon.
        tasks: [task, field].
        seed: Seed of the episodes.
        threads: Threads of the simulator and of the adaptation.
        on_tasks: Is told how many tasks are done.
        deterministic: Whether returns are those of further episodes with the most likely actions. The episodes that the
            inner steps take have exploration noise all the same.
        cluster: Whose workers adapt to the tasks, with ``threads`` threads each; None for this process.

    Returns:
        The returns before and after each inner step, the same wherever the tasks are.
    """
    make = partial(TaskMeter, controller, family, seed, threads, deterministic)
    with measuring(make, threads, min(len(tasks), TASKS_AT_ONCE), cluster) as measure:
        chunks = []
        for index, start in enumerate(range(0, len(tasks), TASKS_AT_ONCE)):
            chunks.append(measure(tasks[start : start + TASKS_AT_ONCE], index))
            on_tasks(start + len(chunks[-1]))
    returns, successes, errors = torch.cat(chunks).permute(1, 2, 0).contiguous()
    return Evaluation(tasks, returns, successes, errors, controller.metadata.episodes_per_step)


@contextmanager
def measuring(
    make: Callable[[], TaskMeter], threads: int, at_once: int, cluster: Cluster | None
) -> Iterator[Callable[[Array, int], Tensor]]:
    """Yield what measures tasks, as ``TaskMeter.measure`` does.

    Args:
        make: Makes a meter.
        threads: The threads of each.
        at_once: Tasks at a time, at most.
        cluster: Whose workers hold meters that share the tasks; None for this process.
    """
    if cluster is None:
        with closing(make()) as meter:
            yield meter.measure
        return
    cluster.check(at_once, "an evaluation at a time")
    with single_threaded_torch(), cluster.pool(make, threads, at_once) as pool:

        def attempt(tasks: Array, index: int) -> Tensor:
            workers = min(len(pool), len(tasks))
            own = shares(workers)
            return stacked(pool.call("measure", tasks, index, own=own, workers=workers))

        yield lambda tasks, index: repeated(partial(attempt, tasks, index), pool.restore, "a part of the evaluation")


def measured(tasks: Array, sampled: Sequence[Episodes]) -> Evaluation:
    """Return what the episodes after 0, 1, ... K inner steps say of ``tasks`` [task, field]."""
    returns = [episodes.returns().double() for episodes in sampled]
    count = returns[0].shape[1]
    return Evaluation(
        tasks,
        torch.stack([each.mean(dim=1) for each in returns]),
        torch.stack([task_successes(episodes) for episodes in sampled]),
        torch.stack([standard_error(each) for each in returns]),
        count,
    )


def standard_error(returns: Tensor) -> Tensor:
    """Return the standard error of each task's mean return [task] over episodes ``returns`` [task, episode]."""
    count = returns.shape[1]
    return returns.std(dim=1) / count**0.5 if count > 1 else torch.full_like(returns[:, 0], torch.nan)


def unseen_tasks(family: TaskFamily, count: int, seed: int) -> Array:
    """Return ``count`` tasks [task, field] of an evaluation, from another random stream than the training's."""
    return family.sample_tasks(count, generator(seed, Purpose.EVALUATION))


def grid_of_tasks(family: TaskFamily, count: int) -> Array:
    """Return ``count`` targets [task, 1], evenly from the field's lowest value to its highest, or all its choices.

    Raise Refusal for a family whose tasks are more than one number.
    """
    if len(family.fields) != 1:
        names = ", ".join(field.name for field in family.fields)
        raise Refusal(f"a grid of targets needs a family with one task field, and {family.name} has {names}")
    (field,) = family.fields
    values = np.array(field.choices) if field.choices else np.linspace(field.low, field.high, count)
    return values[:, np.newaxis]


def adapt_to_task(
    controller: Controller, family: TaskFamily, task: Mapping[str, float], seed: int, threads: int
) -> tuple[Controller, Evaluation]:
    """Adapt a controller to one task, as a device does.

    Args:
        controller: The controller.
        family: The task's family, at the controller's horizon.
        task: The task's named values.
        seed: Seed of the episodes.
        threads: Threads of the simulator.

    Returns:
        The adapted controller, and the returns before and after each inner step.
    """
    tasks = family.task_array(task)[np.newaxis]
    metadata = controller.metadata
    random = generator(seed, Purpose.ADAPTATION)
    adapted = replace(controller, metadata=replace(metadata, adapted_to=family.task_dict(tasks[0])))
    sampled = []
    with (
        single_threaded_torch(),
        Sampler(family, controller.network, metadata.action_scale, threads) as sampler,
    ):
        for step in range(metadata.inner_steps + 1):
            episodes = sampler.sample(for_each_task(adapted.parameters, 1), tasks, metadata.episodes_per_step, random)
            sampled.append(episodes)
            if step < metadata.inner_steps:
                adapted = adapted.adapt(episodes.recorded(task=0), step)
    return adapted, measured(tasks, sampled)


def adaptation_settings(controller: Controller) -> AdaptationSettings:
    """Return how the controller was meta-trained to be adapted."""
    metadata = controller.metadata
    return AdaptationSettings(
        get_method(metadata.method),
        metadata.inner_steps,
        metadata.episodes_per_step,
        metadata.discount,
        metadata.gae_lambda,
        metadata.baseline,
    )


def family_of(controller: Controller, family: TaskFamily) -> TaskFamily:
    """Return the family as the controller sees it; raise Refusal if it has other spaces than the controller."""
    if family.observation_space.shape != (controller.network.observation_size,):  # not what this returned before
        family = as_method_sees(family, controller.metadata.horizon, controller.metadata.method)
    family = with_horizon(family, controller.metadata.horizon)
    check_spaces(controller, family.observation_space.shape, family.action_shape, family.name, family.choices)
    return family
