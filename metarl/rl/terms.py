"""The outer objective's terms of each task, computed where the task's episodes are.

Loss, gradient, KL divergence and Fisher-vector product of the outer objective are means of per-task terms. They are
computed task by task, in as many threads as there are cores: a task's activations fit in the cache. Only vectors of
parameter size and numbers come back, one per task and in the order of tasks, so that their mean does not depend on
where they were computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from metarl.inner_loop import as_leaves, inner_step
from metarl.losses import surrogate_loss
from metarl.policies.methods import Method
from metarl.policies.networks.distributions import Distribution
from metarl.policies.networks.mlp import PolicyNetwork
from metarl.policies.networks.network import Parameters
from metarl.rl.batch import Batch
from metarl.rl.trpo import Product
from metarl.rl.vectors import flatten, split


class TaskData(NamedTuple):
    """One task of a meta-batch: its support batches, one per inner step, and the query batch."""

    support: tuple[Batch, ...]
    query: Batch


class GradientTerms(NamedTuple):
    """The gradients of the tasks' surrogate losses, and these losses."""

    gradients: Tensor  # [task, number], flat
    losses: Tensor  # [task]


class Terms(Protocol):
    """The terms of all tasks of a meta-batch, at meta-parameters that are given."""

    def gradients(self, parameters: Parameters, names: tuple[str, ...]) -> GradientTerms:
        """Return each task's gradient with respect to the named parameters, and keep the adapted policies."""
        ...

    def fisher_products(self, parameters: Parameters, names: tuple[str, ...], tasks: int) -> Product:
        """Return v -> F_i v [task, number] with the Fisher matrix F_i of each of the first ``tasks`` tasks."""
        ...

    def measures(self, parameters: Parameters) -> Tensor:
        """Return each task's surrogate loss and KL divergence [task, 2] from the policies that were kept."""
        ...


class TaskTerms:
    """The terms of tasks whose batches are in this process."""

    def __init__(
        self,
        network: PolicyNetwork,
        method: Method,
        first_order: bool,
        tasks: Sequence[TaskData],
        executor: Executor,
    ) -> None:
        self.network, self.method, self.first_order = network, method, first_order
        self.tasks, self.executor = tasks, executor
        self.adapted: list[Distribution] = []  # every task's policy on its query batch where the gradient was taken

    def query_distribution(self, parameters: Parameters, task: TaskData, differentiable: bool) -> Distribution:
        """Return the policy adapted to a task, on its query batch.

        Args:
            parameters: The meta-parameters.
            task: The task's support and query batches.
            differentiable: Whether the result is differentiable with respect to ``parameters``.

        Returns:
            The distribution of its actions.
        """
        adapted = parameters if differentiable else as_leaves(parameters)
        for step, batch in enumerate(task.support):
            second_order = differentiable and not self.first_order
            adapted = inner_step(self.network, adapted, self.method, step, batch, second_order).parameters
            adapted = adapted if differentiable else as_leaves(adapted)
        with torch.set_grad_enabled(differentiable):
            outputs, _ = self.network(adapted, task.query.observations)
            return self.network.distribution(adapted, outputs)

    def gradients(self, parameters: Parameters, names: tuple[str, ...]) -> GradientTerms:
        """Return each task's gradient with respect to the named parameters, and keep the adapted policies."""

        def term(task: TaskData) -> tuple[Tensor, Tensor, Distribution]:
            leaves = as_leaves(parameters, names)
            new = self.query_distribution(leaves, task, differentiable=True)
            log_probabilities = new.log_probability(task.query.actions)
            loss = surrogate_loss(
                log_probabilities, log_probabilities.detach(), task.query.advantages, task.query.valid
            )
            gradients = torch.autograd.grad(loss, [leaves[name] for name in names], materialize_grads=True)
            return flatten(gradients), loss.detach(), new.detached()

        gradients, losses, adapted = zip(*self.executor.map(term, self.tasks), strict=True)
        self.adapted = list(adapted)
        return GradientTerms(torch.stack(gradients), torch.stack(losses))

    def fisher_products(self, parameters: Parameters, names: tuple[str, ...], tasks: int) -> Product:
        """Return v -> J^T M J v [task, number] of each of the first ``tasks`` tasks.

        J is the Jacobian, through the adaptation, of the distribution's parameters on the query batch, and M their
        Fisher information (``Distribution.metric``).
        """
        chosen = self.tasks[:tasks]
        terms = list(self.executor.map(lambda task: self._fisher_term(parameters, names, task), chosen))
        return lambda vector: torch.stack(list(self.executor.map(lambda term: term(vector), terms)))

    def _fisher_term(self, parameters: Parameters, names: tuple[str, ...], task: TaskData) -> Product:
        """Return v -> J^T M J v of one task.

        J v is the derivative of the linear function u -> J^T u in the direction v.
        """
        leaves = as_leaves(parameters, names)
        trained = [leaves[name] for name in names]
        distribution = self.query_distribution(leaves, task, differentiable=True)
        outputs = tuple(distribution)
        cotangents = [torch.zeros_like(output, requires_grad=True) for output in outputs]
        pulled = torch.autograd.grad(outputs, trained, cotangents, create_graph=True, materialize_grads=True)
        metric = distribution.metric(task.query.valid.to(outputs[0].dtype) / task.query.valid.sum())

        def product(vector: Tensor) -> Tensor:
            tangents = split(vector, trained)
            pushed = torch.autograd.grad(pulled, cotangents, tangents, retain_graph=True, materialize_grads=True)
            weighted = metric(pushed)
            return flatten(torch.autograd.grad(outputs, trained, weighted, retain_graph=True, materialize_grads=True))

        return product

    def measures(self, parameters: Parameters) -> Tensor:
        """Return each task's loss and KL divergence [task, 2], adapting anew to the same support batches.

        The divergence is measured from the policies that ``gradients`` has kept.
        """

        def term(pair: tuple[TaskData, Distribution]) -> Tensor:
            task, before = pair
            query = task.query
            after = self.query_distribution(parameters, task, differentiable=False)
            loss = surrogate_loss(
                after.log_probability(query.actions),
                before.log_probability(query.actions),
                query.advantages,
                query.valid,
            )
            return torch.stack([loss, before.kl_divergence(after, query.valid)])

        return torch.stack(list(self.executor.map(term, zip(self.tasks, self.adapted, strict=True))))
