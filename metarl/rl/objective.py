"""The outer objective of MAML-TRPO: a mean over tasks of surrogate loss and KL divergence after adaptation.

Loss, gradient, KL divergence and Fisher-vector product are sums of per-task terms. They are computed task by task, in
as many threads as there are cores: a task's activations fit in the cache. Only vectors of parameter size come back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from metarl.inner_loop import as_leaves, inner_step
from metarl.losses import surrogate_loss
from metarl.policies.methods import STEP_SIZES, Method
from metarl.policies.networks.distributions import Distribution
from metarl.policies.networks.mlp import PolicyNetwork
from metarl.policies.networks.network import Parameters
from metarl.rl.batch import Batch
from metarl.rl.trpo import Measured, Product

Item = TypeVar("Item")


class TaskData(NamedTuple):
    """One task of a meta-batch: its support batches, one per inner step, and the query batch."""

    support: tuple[Batch, ...]
    query: Batch


class MetaGradient(NamedTuple):
    """The gradient of the mean surrogate loss, and what else one pass over the tasks gives."""

    trained: Tensor  # flat, of the parameters that the trust region moves
    others: Parameters  # of the other parameters that were asked for
    loss: float
    adapted: list[Distribution]  # every task's policy, for ``measure``


@dataclass(frozen=True)
class MetaObjective:
    """The outer objective as a function of the meta-parameters, for given support and query batches.

    ``trained`` names the meta-parameters that the trust region moves. Flat vectors hold them in this order.

    With a ``penalty`` the loss is the surrogate plus sum of penalty * alpha, the Lasso of p-Meta, eq. 9, over step
    sizes alpha >= 0. The trust region's step trades it for the surrogate in its own metric, so that a penalty weighs
    the same however short the steps are: alpha is zero where a unit of it lowers the surrogate by less.
    """

    network: PolicyNetwork
    method: Method
    trained: tuple[str, ...]
    first_order: bool
    tasks: Sequence[TaskData]
    executor: Executor
    penalty: Tensor | None = None  # [inner step, layer], at least 0; None if the step sizes are not sparse
    movable: Parameters = field(default_factory=dict)  # 1 where a number may move, else 0; what is left out may

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

    def gradient(self, parameters: Parameters, others: tuple[str, ...] = ()) -> MetaGradient:
        """Return the meta-gradient of the loss with respect to ``trained``, and to ``others``."""

        def term(task: TaskData) -> tuple[Tensor, Tensor, Distribution]:
            leaves = as_leaves(parameters, self.trained + others)
            new = self.query_distribution(leaves, task, differentiable=True)
            log_probabilities = new.log_probability(task.query.actions)
            loss = surrogate_loss(
                log_probabilities, log_probabilities.detach(), task.query.advantages, task.query.valid
            )
            inputs = [leaves[name] for name in self.trained + others]
            gradients = torch.autograd.grad(loss, inputs, materialize_grads=True)
            return flatten(gradients), loss.detach(), new.detached()

        gradients, losses, adapted = zip(*self.executor.map(term, self.tasks), strict=True)
        mean = torch.stack(gradients).mean(dim=0)
        parts = split(mean, [parameters[name] for name in self.trained + others])
        count = len(self.trained)
        gradients_of = dict(zip(self.trained, parts[:count], strict=True))
        if self.penalty is not None:
            gradients_of[STEP_SIZES] = gradients_of[STEP_SIZES] + self.penalty
        return MetaGradient(
            flatten(list(gradients_of.values())),
            dict(zip(others, parts[count:], strict=True)),
            float(torch.stack(losses).mean()) + self.penalty_at(parameters),
            list(adapted),
        )

    def penalty_at(self, parameters: Parameters) -> float:
        """Return what the Lasso adds to the loss."""
        return 0.0 if self.penalty is None else float((self.penalty * parameters[STEP_SIZES]).sum())

    def free(self, parameters: Parameters, gradient: Tensor) -> Tensor:
        """Return 1 for each of the ``trained`` numbers that a step may move.

        It is 0 where ``movable`` says so, and for a sparse step size of zero that ``gradient`` keeps there. A step
        computed among the free numbers alone lowers the loss in first order also after its projection.
        """
        free = flatten([self.movable.get(name, torch.ones_like(parameters[name])) for name in self.trained])
        if self.penalty is None:
            return free
        parts, slopes = self.named(parameters, free), self.named(parameters, gradient)
        parts[STEP_SIZES][(parameters[STEP_SIZES] <= 0) & (slopes[STEP_SIZES] >= 0)] = 0
        return free

    def fisher_product(self, parameters: Parameters, fraction: float, damping: float) -> Product:
        """Return v -> (F + damping) v, with the Fisher matrix F of a fraction of the tasks in Gauss-Newton form.

        F = mean over tasks of J^T M J, where J is the Jacobian, through the adaptation, of the distribution's
        parameters on the query batch, and M their Fisher information (``Distribution.metric``). The KL divergence's own
        gradient is zero at the point, so F is its exact Hessian there.
        """
        tasks = self.tasks[: max(1, round(fraction * len(self.tasks)))]
        terms = list(self.executor.map(lambda task: self._fisher_term(parameters, task), tasks))

        def product(vector: Tensor) -> Tensor:
            return self._mean_over(lambda term: term(vector), terms) + damping * vector

        return product

    def _fisher_term(self, parameters: Parameters, task: TaskData) -> Product:
        """Return v -> J^T M J v of one task.

        J v is the derivative of the linear function u -> J^T u in the direction v.
        """
        leaves = as_leaves(parameters, self.trained)
        trained = self._trained_of(leaves)
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

    def measure(self, parameters: Parameters, old: Sequence[Distribution]) -> Measured:
        """Measure the loss and the KL divergence at other meta-parameters, adapting anew to the same support batches.

        ``old`` are the policies, adapted to each task, that the divergence is measured from.
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

        loss, kl = self._mean_over(term, list(zip(self.tasks, old, strict=True))).tolist()
        return Measured(loss + self.penalty_at(parameters), kl)

    def displaced(self, parameters: Parameters, step: Tensor) -> Parameters:
        """Return the meta-parameters minus a flat step of ``trained``, no sparse step size below zero."""
        parts = self.named(parameters, step)
        moved = {name: tensor - parts[name] if name in parts else tensor for name, tensor in parameters.items()}
        if self.penalty is not None:
            moved[STEP_SIZES] = moved[STEP_SIZES].clamp_min(0)
        return moved

    def named(self, parameters: Parameters, vector: Tensor) -> Parameters:
        """Return the parts of a flat vector of the ``trained`` numbers by name; they share its memory."""
        return dict(zip(self.trained, split(vector, self._trained_of(parameters)), strict=True))

    def _trained_of(self, parameters: Parameters) -> list[Tensor]:
        return [parameters[name] for name in self.trained]

    def _mean_over(self, term: Callable[[Item], Tensor], items: Sequence[Item]) -> Tensor:
        return torch.stack(list(self.executor.map(term, items))).mean(dim=0)


def flatten(tensors: Sequence[Tensor]) -> Tensor:
    """Return one flat vector of all the tensors' elements."""
    return torch.cat([tensor.flatten() for tensor in tensors])


def split(vector: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Return the parts of a flat vector, shaped like the tensors."""
    parts = torch.split(vector, [tensor.numel() for tensor in like])
    return [part.view_as(tensor) for part, tensor in zip(parts, like, strict=True)]
