"""The outer objective of MAML-TRPO: a mean over tasks of surrogate loss and KL divergence after adaptation.

Whatever a task's episodes are needed for is among its ``Terms``, in this process or in another one. Their mean is taken
here, in the order of tasks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from metarl.policies.methods import STEP_SIZES
from metarl.policies.networks.network import Parameters
from metarl.rl.terms import Terms
from metarl.rl.trpo import Measured, Product
from metarl.rl.vectors import flatten, split


class MetaGradient(NamedTuple):
    """The gradient of the mean surrogate loss, and that loss."""

    trained: Tensor  # flat, of the parameters that the trust region moves
    others: Parameters  # of the other parameters that were asked for
    loss: float


@dataclass(frozen=True)
class MetaObjective:
    """The outer objective as a function of the meta-parameters, for given support and query batches.

    ``trained`` names the meta-parameters that the trust region moves. Flat vectors hold them in this order.

    With a ``penalty`` the loss is the surrogate plus sum of penalty * alpha, the Lasso of p-Meta, eq. 9, over step
    sizes alpha >= 0. The trust region's step trades it for the surrogate in its own metric, so that a penalty weighs
    the same however short the steps are: alpha is zero where a unit of it lowers the surrogate by less.
    """

    trained: tuple[str, ...]
    tasks: int
    terms: Terms
    penalty: Tensor | None = None  # [inner step, layer], at least 0; None if the step sizes are not sparse
    movable: Parameters = field(default_factory=dict)  # 1 where a number may move, else 0; what is left out may

    def gradient(self, parameters: Parameters, others: tuple[str, ...] = ()) -> MetaGradient:
        """Return the meta-gradient of the loss with respect to ``trained``, and to ``others``."""
        gradients, losses = self.terms.gradients(parameters, self.trained + others)
        parts = split(gradients.mean(dim=0), [parameters[name] for name in self.trained + others])
        count = len(self.trained)
        gradients_of = dict(zip(self.trained, parts[:count], strict=True))
        if self.penalty is not None:
            gradients_of[STEP_SIZES] = gradients_of[STEP_SIZES] + self.penalty
        return MetaGradient(
            flatten(list(gradients_of.values())),
            dict(zip(others, parts[count:], strict=True)),
            float(losses.mean()) + self.penalty_at(parameters),
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

        The KL divergence's own gradient is zero at the point, so F is its exact Hessian there.
        """
        tasks = max(1, round(fraction * self.tasks))
        products = self.terms.fisher_products(parameters, self.trained, tasks)
        return lambda vector: products(vector).mean(dim=0) + damping * vector

    def measure(self, parameters: Parameters) -> Measured:
        """Measure the loss and the KL divergence at other meta-parameters, adapting anew to the same support batches.

        The divergence is measured from the policies adapted where ``gradient`` was taken last.
        """
        loss, kl = self.terms.measures(parameters).mean(dim=0).tolist()
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
        like = [parameters[name] for name in self.trained]
        return dict(zip(self.trained, split(vector, like), strict=True))
