"""The inner loop: one policy-gradient step per batch of support episodes, differentiable with respect to its start."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from metarl.advantages import estimate_advantages
from metarl.episodes import Episodes
from metarl.losses import log_probability, policy_gradient_loss
from metarl.numerics import require_finite
from metarl.policies.methods import STEP_SIZES
from metarl.policies.mlp import GaussianMLP
from metarl.policies.network import Parameters, layer_of


class Batch(NamedTuple):
    """The time steps of one task's episodes, one after the other, with their advantages."""

    observations: Tensor  # [sample, observation]
    actions: Tensor  # [sample, action]
    advantages: Tensor  # [sample]
    valid: Tensor  # [sample], bool


def prepare_batch(episodes: Episodes, task: int, discount: float, gae_lambda: float) -> Batch:
    """The batch of one task, with advantages on a baseline fitted to that task's episodes.

    FloatingPointError if they are not finite.
    """
    observations, valid = episodes.observations[task], episodes.valid[task]
    advantages = estimate_advantages(observations, episodes.rewards[task], valid, discount, gae_lambda)
    require_finite("the advantages are", advantages)
    return Batch(
        observations.flatten(0, 1), episodes.actions[task].flatten(0, 1), advantages.flatten(), valid.flatten()
    )


def loss_on(network: GaussianMLP, parameters: Parameters, batch: Batch) -> Tensor:
    """The policy-gradient loss of a policy on a batch."""
    mean, _ = network(parameters, batch.observations)
    log_probabilities = log_probability(mean, network.log_std(parameters), batch.actions)
    return policy_gradient_loss(log_probabilities, batch.advantages, batch.valid)


def inner_step(
    network: GaussianMLP,
    parameters: Parameters,
    updated_layers: tuple[str, ...],
    step: int,
    batch: Batch,
    second_order: bool,
) -> Parameters:
    """w_l - alpha_l^k * dL/dw_l for every updated layer l (p-Meta, eq. 6), k = ``step``; one task's parameters.

    The result is differentiable with respect to ``parameters`` and their step sizes. Without ``second_order`` the
    gradient dL/dw counts as a constant.
    """
    updated = [name for name in parameters if layer_of(name) in updated_layers]
    gradients = torch.autograd.grad(
        loss_on(network, parameters, batch), [parameters[name] for name in updated], create_graph=second_order
    )
    layer_names = network.layer_names
    adapted = dict(parameters)
    for name, gradient in zip(updated, gradients, strict=True):
        step_size = parameters[STEP_SIZES][step, layer_names.index(layer_of(name))]
        adapted[name] = parameters[name] - step_size * gradient
    return adapted


def as_leaves(parameters: Parameters, trained: tuple[str, ...] | None = None) -> Parameters:
    """Copies without history that gradients can be taken of: those named in ``trained``, or all of them."""
    return {
        name: tensor.detach().requires_grad_(trained is None or name in trained) for name, tensor in parameters.items()
    }
