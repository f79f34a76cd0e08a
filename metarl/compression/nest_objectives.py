"""What nested subnets are trained on: the gradients of their losses, and how good they are.

Policies are distilled from the dense policy, or take the surrogate loss of their own rollouts; image networks take the
cross-entropy. All of it is after the inner step, which starts at the subnet's weights and moves those alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from metarl.compression.nest_settings import NestSettings
from metarl.compression.tasks import Tasks, family_of, images_of
from metarl.core.clock import Clock
from metarl.core.randomness import Purpose, generator
from metarl.core.threads import single_threaded_torch
from metarl.envs.family import TaskFamily
from metarl.images import tasks as few_shot
from metarl.images.evaluation import evaluate_images
from metarl.images.iteration import meta_gradient
from metarl.images.start import ImageData
from metarl.inner_loop import as_leaves, inner_step
from metarl.policies.classifier import Classifier
from metarl.policies.compression.masks import masked
from metarl.policies.controller import Controller
from metarl.policies.methods import get_method
from metarl.policies.networks.mlp import PolicyNetwork
from metarl.policies.networks.network import Parameters
from metarl.rl.adaptation import Adaptation, adapt_to_tasks
from metarl.rl.batch import Batch
from metarl.rl.evaluation import adaptation_settings
from metarl.rl.objective import MetaObjective
from metarl.rl.sampling import Sampler
from metarl.rl.terms import TaskTerms
from metarl.rl.workers import task_data, task_returns

VALIDATION = 1_000_000  # the index of the validation's random stream, beyond all iterations
Recorded = tuple[tuple[Parameters, ...], tuple[Batch, ...]]  # of a task: policies and episodes after 0, 1, ... K steps


class ObjectiveSettings(Protocol):
    """What the losses of policies depend on."""

    @property
    def objective(self) -> Literal["distill", "surrogate"]:
        """Which loss it is."""

    @property
    def tasks(self) -> int:
        """The tasks of an iteration."""

    @property
    def validation_tasks(self) -> int:
        """The tasks of a score."""

    @property
    def seed(self) -> int:
        """Seed of tasks and episodes."""


class Objective(Protocol):
    """The losses of all subnets."""

    def gradients(self, subnets: Sequence[Parameters], names: tuple[str, ...], iteration: int) -> list[Parameters]:
        """Return the gradient of each subnet's loss by those parameters, on the tasks of an iteration.

        ``subnets`` are masked parameters, and a pruned weight has the gradient 0.
        """
        ...

    def score(self, subnet: Parameters) -> float:
        """Return a subnet's mean return or accuracy after adaptation, on tasks that are always the same."""
        ...


@dataclass(frozen=True)
class PolicyObjective:
    """Distillation from the dense policy, or the surrogate loss after adaptation on a subnet's own rollouts."""

    dense: Controller
    family: TaskFamily
    settings: ObjectiveSettings
    sampler: Sampler
    executor: Executor

    def gradients(self, subnets: Sequence[Parameters], names: tuple[str, ...], iteration: int) -> list[Parameters]:
        """Return the gradients; the dense policy's rollouts serve all subnets, or each subnet has its own."""
        if self.settings.objective == "surrogate":
            return [self._surrogate(subnet, names, iteration) for subnet in subnets]
        recorded = self.recorded(self.settings.tasks, iteration)
        return [self.distilled(subnet, names, recorded) for subnet in subnets]

    def score(self, subnet: Parameters) -> float:
        """Return the mean return after adaptation."""
        adaptation = self._adapted(subnet, self.settings.validation_tasks, VALIDATION, query_advantages=False)
        return float(task_returns(adaptation.episodes[-1]).mean())

    def recorded(self, count: int, index: int) -> list[Recorded]:
        """Return the dense policy before and after its inner steps on ``count`` tasks, and its episodes then."""
        adaptation = self._adapted(self.dense.parameters, count, index)
        return list(zip(zip(*adaptation.parameters, strict=True), zip(*adaptation.batches, strict=True), strict=True))

    def _adapted(self, parameters: Parameters, count: int, index: int, query_advantages: bool = True) -> Adaptation:
        random = generator(self.settings.seed, Purpose.NESTING, index)
        return adapt_to_tasks(
            masked(parameters),
            self.family.sample_tasks(count, random),
            adaptation_settings(self.dense),
            self.sampler,
            self.executor,
            random,
            Clock(),
            query_advantages,
        )

    def _surrogate(self, subnet: Parameters, names: tuple[str, ...], iteration: int) -> Parameters:
        method = get_method(self.dense.metadata.method)
        adaptation = self._adapted(subnet, self.settings.tasks, iteration)
        data = task_data(adaptation, method)
        terms = TaskTerms(self.dense.network, method, False, data, self.executor)
        objective = MetaObjective(names, len(data), terms)
        return objective.named(subnet, objective.gradient(subnet).trained)

    def distilled(self, subnet: Parameters, names: tuple[str, ...], recorded: Sequence[Recorded]) -> Parameters:
        """Return the gradient of the mean over tasks of the KL divergences before and after adaptation."""

        def term(task: Recorded) -> list[Tensor]:
            teachers, batches = task
            leaves = as_leaves(subnet, names)
            loss = self.divergence(leaves, teachers, batches)
            return list(torch.autograd.grad(loss, [leaves[name] for name in names], materialize_grads=True))

        terms = list(self.executor.map(term, recorded))
        return {name: torch.stack(each).mean(dim=0) for name, each in zip(names, zip(*terms, strict=True), strict=True)}

    def divergence(self, subnet: Parameters, teachers: Sequence[Parameters], batches: Sequence[Batch]) -> Tensor:
        """Return the sum over 0, 1, ... K inner steps of KL(dense || subnet), on the dense policy's episodes of a task.

        Args:
            subnet: The subnet's parameters with its masks.
            teachers: The dense policy after each number of inner steps.
            batches: Its episodes then; the subnet's inner steps take the same.
        """
        network, method = self.dense.network, get_method(self.dense.metadata.method)
        student, total = masked(subnet), torch.zeros(())
        for step, (teacher, batch) in enumerate(zip(teachers, batches, strict=True)):
            total = total + kl_divergence(network, teacher, student, batch)
            if step < len(batches) - 1:
                student = inner_step(network, student, method, step, batch, second_order=True).parameters
        return total


def kl_divergence(network: PolicyNetwork, teacher: Parameters, student: Parameters, batch: Batch) -> Tensor:
    """Return the mean KL(teacher || student) over a batch's observations, differentiable in the student."""
    with torch.no_grad():
        before = network.distribution(teacher, network(teacher, batch.observations)[0]).detached()
    after = network.distribution(student, network(student, batch.observations)[0])
    return before.kl_divergence(after, batch.valid)


@dataclass(frozen=True)
class ImageObjective:
    """The cross-entropy of query images after adaptation."""

    dense: Classifier
    data: ImageData
    settings: NestSettings
    executor: Executor

    def gradients(self, subnets: Sequence[Parameters], names: tuple[str, ...], iteration: int) -> list[Parameters]:
        """Return the gradients, on the same tasks for all subnets."""
        random = generator(self.settings.seed, Purpose.NESTING, iteration)
        shape = self.data.training_shape
        drawn = few_shot.sample_tasks(self.data.training, shape, self.settings.tasks, random)
        network, method = self.dense.network, get_method(self.dense.metadata.method)
        found = (meta_gradient(network, each, method, drawn, False, self.executor).gradients for each in subnets)
        return [{name: gradients[name] for name in names} for gradients in found]

    def score(self, subnet: Parameters) -> float:
        """Return the mean accuracy after adaptation on the split val."""
        evaluation = evaluate_images(
            self.executor,
            self.dense.network,
            masked(subnet),
            get_method(self.dense.metadata.method),
            self.data.validation,
            self.data.validation_shape,
            self.settings.validation_tasks,
            self.settings.seed,
        )
        return evaluation.accuracies()[-1].mean


@contextmanager
def objective_for(
    dense: Controller | Classifier, tasks: Tasks, settings: NestSettings, threads: int
) -> Iterator[Objective]:
    """Give what the subnets of a controller are trained on; threads and simulators end with the block.

    Args:
        dense: The controller.
        tasks: The task family of a policy, as it sees it, or the images of an image network.
        settings: How the subnets are trained.
        threads: Threads of the simulator and of the training.
    """
    with single_threaded_torch(), ThreadPoolExecutor(threads, thread_name_prefix="nest") as executor:
        if isinstance(dense, Classifier):
            yield ImageObjective(dense, images_of(tasks).data, settings, executor)
            return
        family = family_of(tasks)
        with Sampler(family, dense.network, dense.metadata.action_scale, threads) as sampler:
            yield PolicyObjective(dense, family, settings, sampler, executor)
