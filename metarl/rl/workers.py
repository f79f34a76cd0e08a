"""What holds the tasks of a meta-batch: it samples and adapts, and keeps the episodes for the outer step.

``TaskWorker`` is the one in this process. ``metarl.rl.dealt`` deals the tasks to several in other processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from metarl.core.clock import Clock
from metarl.core.threads import single_threaded_torch
from metarl.envs.family import Array, TaskFamily
from metarl.inner_loop import Scores
from metarl.kept_channels import TASKS
from metarl.policies.methods import Method, get_method
from metarl.policies.networks.mlp import PolicyNetwork
from metarl.policies.networks.network import Parameters
from metarl.policies.normalization import MEAN, Seen, seen_in
from metarl.rl.adaptation import Adaptation, AdaptationSettings, adapt_to_tasks
from metarl.rl.batch import Batch, pooled
from metarl.rl.episodes import Episodes
from metarl.rl.sampling import ALL, Sampler, for_each_task
from metarl.rl.settings import TrainSettings
from metarl.rl.terms import TaskData, TaskTerms, Terms


class TaskOutcome(NamedTuple):
    """What a meta-iteration reports of the adaptation to one task: a few numbers; the episodes stay where they are."""

    returns: tuple[float, ...]  # after 0, 1, ... K inner steps, means over the episodes
    successes: tuple[float, ...]  # likewise, the shares that reached the goal; NaN if the environment does not tell
    steps: int  # environment steps
    spread: float  # how widely actions spread before adaptation
    seen: tuple[Seen, ...]  # the observations after 0, 1, ... K inner steps; empty if they are not normalized
    scores: tuple[Scores, ...]  # of the channels, by inner step; empty but for the first tasks, which logs tell of


class Workers(Protocol):
    """What holds the tasks of a meta-batch. What it answers does not depend on how they are dealt."""

    @property
    def family(self) -> TaskFamily:
        """The task family."""
        ...

    @property
    def network(self) -> PolicyNetwork:
        """The policy network."""
        ...

    @property
    def terms(self) -> Terms:
        """The outer objective's terms on the episodes of the last ``adapt``, if the method takes a meta-gradient."""
        ...

    def adapt(
        self, parameters: Parameters, tasks: Array, generator: np.random.Generator, clock: Clock
    ) -> list[TaskOutcome]:
        """Adapt to tasks [task, field], keep their episodes, and return the outcome of each task."""
        ...

    def adapted(self, names: Sequence[str]) -> list[Parameters]:
        """Return the named parameters of each task after its last inner step."""
        ...

    def divergences(self, old: Parameters, new: Parameters) -> list[float]:
        """Return each task's mean KL(old || new) of a policy before adaptation, on its first episodes."""
        ...

    def returns(self, parameters: Parameters, tasks: Array, generator: np.random.Generator) -> list[float]:
        """Return the mean return of each of the tasks [task, field], without adaptation."""
        ...

    def restore(self) -> None:
        """Replace what is lost, after a WorkerLost."""
        ...

    def bytes_moved(self) -> tuple[int, int] | None:
        """Return the bytes sent to other processes and received from them so far; None if there are none."""
        ...


class TaskWorker:
    """Holds a share of the tasks in this process; all of them, where there is no other worker."""

    def __init__(self, settings: TrainSettings, sampler: Sampler, executor: Executor) -> None:
        self.settings, self.sampler, self.executor = settings, sampler, executor
        self.family, self.network = sampler.family, sampler.network
        self.inner = adaptation_settings(settings)
        self.by_gradient = self.inner.method.outer == "gradient"
        self.free()

    def free(self) -> None:
        """Forget the episodes of the last adaptation."""
        self.adaptation: Adaptation | None = None
        self.terms = TaskTerms(self.network, self.inner.method, self.settings.first_order, (), self.executor)

    def adapt(
        self, parameters: Parameters, tasks: Array, generator: np.random.Generator, clock: Clock
    ) -> list[TaskOutcome]:
        """Adapt to tasks [task, field], keep their episodes, and return the outcome of each task."""
        self.free()
        inner, sampler, executor = self.inner, self.sampler, self.executor
        adaptation = adapt_to_tasks(parameters, tasks, inner, sampler, executor, generator, clock, self.by_gradient)
        return self.keep(adaptation, parameters, range(len(tasks)))

    def keep(self, adaptation: Adaptation, parameters: Parameters, places: Sequence[int]) -> list[TaskOutcome]:
        """Keep the episodes of an adaptation that began at some parameters; return the outcome of each task.

        ``places`` are the places of its tasks in the meta-batch.
        """
        self.adaptation = adaptation
        if self.by_gradient:
            self.terms.tasks = task_data(adaptation, self.inner.method)
        return task_outcomes(self.network, parameters, adaptation, places)

    def adapted(self, names: Sequence[str]) -> list[Parameters]:
        """Return the named parameters of each task after its last inner step."""
        assert self.adaptation is not None
        return [{name: task[name].detach() for name in names} for task in self.adaptation.parameters[-1]]

    def divergences(self, old: Parameters, new: Parameters) -> list[float]:
        """Return each task's mean KL(old || new) of a policy before adaptation, on its first episodes."""
        assert self.adaptation is not None
        return [divergence(self.network, old, new, batch) for batch in self.adaptation.batches[0]]

    def returns(
        self, parameters: Parameters, tasks: Array, generator: np.random.Generator, share: slice = ALL
    ) -> list[float]:
        """Return the mean return of each of the share's tasks, without adaptation."""
        policies = for_each_task(parameters, len(tasks[share]))
        count = self.settings.episodes_per_task
        returns: list[float] = task_returns(
            self.sampler.sample(policies, tasks, count, generator, share=share)
        ).tolist()
        return returns

    def restore(self) -> None:
        """Do nothing: this process is there."""

    def bytes_moved(self) -> None:
        """Return None: nothing leaves this process."""


@contextmanager
def task_worker(family: TaskFamily, network: PolicyNetwork, settings: TrainSettings) -> Iterator[TaskWorker]:
    """Yield a worker in this process, with the threads that the settings ask for."""
    with (
        single_threaded_torch(),
        Sampler(family, network, settings.action_scale, settings.threads) as sampler,
        ThreadPoolExecutor(settings.threads, thread_name_prefix="outer") as executor,
    ):
        yield TaskWorker(settings, sampler, executor)


def adaptation_settings(settings: TrainSettings) -> AdaptationSettings:
    """Return the part of the settings that the inner loop needs."""
    return AdaptationSettings(
        get_method(settings.method),
        settings.inner_steps,
        settings.episodes_per_task,
        settings.discount,
        settings.gae_lambda,
        settings.baseline,
        settings.weight_clustering,
    )


def task_data(adaptation: Adaptation, method: Method) -> list[TaskData]:
    """Return the batches by task: all but the last are support batches, the last one is the query batch.

    A method without an inner loop has one policy in all of them, so the outer step takes all as the query batch.
    """
    by_task = zip(*adaptation.batches, strict=True)
    if not method.adapts:
        return [TaskData((), pooled(batches)) for batches in by_task]
    return [TaskData(batches[:-1], batches[-1]) for batches in by_task]


def task_outcomes(
    network: PolicyNetwork, parameters: Parameters, adaptation: Adaptation, places: Sequence[int]
) -> list[TaskOutcome]:
    """Return the outcome of each task of an adaptation.

    Args:
        network: The policy network.
        parameters: Where the tasks started.
        adaptation: The adaptation.
        places: The places of its tasks in the meta-batch.
    """
    returns = [task_returns(episodes).tolist() for episodes in adaptation.episodes]
    successes = [task_successes(episodes).tolist() for episodes in adaptation.episodes]
    first, normalizes = adaptation.batches[0], MEAN in parameters
    return [
        TaskOutcome(
            returns=tuple(of_step[task] for of_step in returns),
            successes=tuple(of_step[task] for of_step in successes),
            steps=sum(int(episodes.valid[task].sum()) for episodes in adaptation.episodes),
            spread=network.spread(parameters, (batch.observations[batch.valid] for batch in first[task : task + 1])),
            seen=tuple(
                seen_in(episodes.observations[task][episodes.valid[task]])
                for episodes in adaptation.episodes
                if normalizes
            ),
            scores=tuple(of_step[task] for of_step in adaptation.scores if place < TASKS),
        )
        for task, place in enumerate(places)
    ]


def task_returns(episodes: Episodes) -> Tensor:
    """Return the mean return of each task's episodes [task], in float64."""
    return episodes.returns().double().mean(dim=1)


def task_successes(episodes: Episodes) -> Tensor:
    """Return the share of each task's episodes that reached the goal [task]; NaN if the environment does not tell."""
    return episodes.successes.double().mean(dim=1)


@torch.no_grad()
def divergence(network: PolicyNetwork, old: Parameters, new: Parameters, batch: Batch) -> float:
    """Return the mean KL(old || new) of a policy with other parameters, on a batch's observations."""
    before, after = (network.distribution(each, network(each, batch.inputs)[0]) for each in (old, new))
    return float(before.kl_divergence(after, batch.valid))
