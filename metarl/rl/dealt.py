"""A meta-batch whose tasks are dealt in turn to workers in other processes.

A worker keeps its tasks' episodes and automatic differentiation's graphs. What travels are vectors of parameter size
and numbers. Each worker draws the random numbers of all tasks and keeps its own, and what comes back is put in the
order of tasks before it is summed: so the result is the same, bit for bit, with any number of workers.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from metarl.core.clock import Clock
from metarl.envs.family import Array, TaskFamily
from metarl.policies.networks.mlp import PolicyNetwork
from metarl.policies.networks.network import Parameters
from metarl.reptile import center
from metarl.rl.adaptation import Adaptation, adapting
from metarl.rl.settings import TrainSettings
from metarl.rl.start import build_network
from metarl.rl.terms import GradientTerms
from metarl.rl.trpo import Product
from metarl.rl.workers import TaskOutcome, task_worker
from metarl.workers.pool import Pool

Item = TypeVar("Item")
Timed = tuple[list[TaskOutcome], dict[str, float]]  # the outcomes and the seconds of the phases
IN_WORKERS = ("advantages", "inner loop")  # phases whose seconds are the slowest worker's


class ShareHolder:
    """A worker's object: it holds a share of the tasks, and the graphs of the Fisher-vector product."""

    def __init__(self, family: TaskFamily, settings: TrainSettings) -> None:
        self.stack = ExitStack()
        self.worker = self.stack.enter_context(task_worker(family, build_network(family, settings), settings))
        self.course: Generator[tuple[Parameters, ...], Parameters, Adaptation] | None = None
        self.products: Product | None = None

    def adapt(
        self, parameters: Parameters, tasks: Array, generator: np.random.Generator, share: slice
    ) -> list[Parameters] | Timed:
        """Adapt to the share of the tasks.

        Return the outcomes; or, where all tasks are to be pulled together, the parameters whose center ``pull`` takes.
        """
        self.course = self.products = None
        worker = self.worker
        worker.free()
        self.clock, self.parameters, self.places = Clock(), parameters, range(len(tasks))[share]
        self.course = adapting(
            parameters,
            tasks,
            worker.inner,
            worker.sampler,
            worker.executor,
            generator,
            self.clock,
            worker.by_gradient,
            share,
        )
        return self._advance(lambda course: next(course))

    def pull(self, middle: Parameters) -> list[Parameters] | Timed:
        """Go on with ``adapt``, given the center of all tasks' parameters."""
        return self._advance(lambda course: course.send(middle))

    def _advance(
        self, go_on: Callable[[Generator[tuple[Parameters, ...], Parameters, Adaptation]], tuple[Parameters, ...]]
    ) -> list[Parameters] | Timed:
        assert self.course is not None
        try:
            return list(go_on(self.course))
        except StopIteration as done:
            self.course = None
            return self.worker.keep(done.value, self.parameters, self.places), self.clock.seconds

    def gradients(self, parameters: Parameters, names: tuple[str, ...]) -> GradientTerms:
        """Return the share's terms of the gradient."""
        return self.worker.terms.gradients(parameters, names)

    def prepare_fisher(self, parameters: Parameters, names: tuple[str, ...], tasks: int) -> None:
        """Keep the graphs of the Fisher-vector product of those of the share's tasks that are among the first."""
        own = sum(place < tasks for place in self.places)
        self.products = self.worker.terms.fisher_products(parameters, names, own)

    def fisher_products(self, vector: Tensor) -> Tensor:
        """Return the Fisher-vector products of these tasks."""
        assert self.products is not None
        return self.products(vector)

    def measures(self, parameters: Parameters) -> Tensor:
        """Return the share's losses and divergences."""
        return self.worker.terms.measures(parameters)

    def adapted(self, names: Sequence[str]) -> list[Parameters]:
        """Return the named parameters of the share's tasks after the last inner step."""
        return self.worker.adapted(names)

    def divergences(self, old: Parameters, new: Parameters) -> list[float]:
        """Return the share's divergences before adaptation."""
        return self.worker.divergences(old, new)

    def returns(
        self, parameters: Parameters, tasks: Array, generator: np.random.Generator, share: slice
    ) -> list[float]:
        """Return the mean returns of the share's tasks, without adaptation."""
        return self.worker.returns(parameters, tasks, generator, share)

    def close(self) -> None:
        """End the threads and close the simulators."""
        self.stack.close()


class DealtWorkers:
    """The tasks of a meta-batch in the workers of a pool."""

    def __init__(self, family: TaskFamily, network: PolicyNetwork, pool: Pool) -> None:
        self.family, self.network, self.pool = family, network, pool
        self.terms = DealtTerms(pool)

    def adapt(
        self, parameters: Parameters, tasks: Array, generator: np.random.Generator, clock: Clock
    ) -> list[TaskOutcome]:
        """Adapt to tasks [task, field] where they are, and return the outcome of each task."""
        with clock.phase("sampling"):
            answers = self.pool.call("adapt", parameters, tasks, generator, own=shares(len(self.pool)))
            while isinstance(answers[0], list):
                answers = self.pool.call("pull", center(self.network, in_turn(answers)))
        for phase in IN_WORKERS:
            seconds = max(seconds.get(phase, 0.0) for _, seconds in answers)
            clock.seconds[phase] = clock.seconds.get(phase, 0.0) + seconds
            clock.seconds["sampling"] -= seconds
        return in_turn([outcomes for outcomes, _ in answers])

    def adapted(self, names: Sequence[str]) -> list[Parameters]:
        """Return the named parameters of each task after its last inner step."""
        return in_turn(self.pool.call("adapted", names))

    def divergences(self, old: Parameters, new: Parameters) -> list[float]:
        """Return each task's mean KL(old || new) of a policy before adaptation, on its first episodes."""
        return in_turn(self.pool.call("divergences", old, new))

    def returns(self, parameters: Parameters, tasks: Array, generator: np.random.Generator) -> list[float]:
        """Return the mean return of each of the tasks [task, field], without adaptation."""
        return in_turn(self.pool.call("returns", parameters, tasks, generator, own=shares(len(self.pool))))

    def restore(self) -> None:
        """Replace the workers that were lost."""
        self.pool.restore()

    def bytes_moved(self) -> tuple[int, int]:
        """Return the bytes sent to the workers and received from them so far."""
        return self.pool.traffic.sent, self.pool.traffic.received


@dataclass(frozen=True)
class DealtTerms:
    """The terms of the outer objective, of tasks in the workers of a pool."""

    pool: Pool

    def gradients(self, parameters: Parameters, names: tuple[str, ...]) -> GradientTerms:
        """Return each task's gradient, and let the workers keep the adapted policies."""
        answers = self.pool.call("gradients", parameters, names)
        gradients, losses = zip(*answers, strict=True)
        return GradientTerms(stacked(gradients), stacked(losses))

    def fisher_products(self, parameters: Parameters, names: tuple[str, ...], tasks: int) -> Product:
        """Return v -> F_i v [task, number] of the first ``tasks`` tasks, which are those of the first workers."""
        workers = min(tasks, len(self.pool))
        self.pool.call("prepare_fisher", parameters, names, tasks, workers=workers)
        return lambda vector: stacked(self.pool.call("fisher_products", vector, workers=workers))

    def measures(self, parameters: Parameters) -> Tensor:
        """Return each task's surrogate loss and KL divergence [task, 2]."""
        return stacked(self.pool.call("measures", parameters))


def shares(workers: int) -> list[slice]:
    """Return the tasks of each worker, dealt in turn."""
    return [slice(worker, None, workers) for worker in range(workers)]


def in_turn(parts: Sequence[Sequence[Item]]) -> list[Item]:
    """Return what the workers tell of their tasks in the order of tasks."""
    count = sum(map(len, parts))
    return [parts[task % len(parts)][task // len(parts)] for task in range(count)]


def stacked(parts: Sequence[Tensor]) -> Tensor:
    """Return the workers' tensors [task of the worker, ...] as one [task, ...] in the order of tasks."""
    whole = torch.empty(sum(map(len, parts)), *parts[0].shape[1:], dtype=parts[0].dtype)
    for worker, part in enumerate(parts):
        whole[worker :: len(parts)] = part
    return whole
