"""The inner loop: one policy-gradient step per batch of support episodes, differentiable with respect to its start."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from metarl.episodes import Episodes
from metarl.losses import log_probability, policy_gradient_loss
from metarl.numerics import require_finite
from metarl.policies.advantages import estimate_advantages
from metarl.policies.attention import attention_scores
from metarl.policies.methods import STEP_SIZES, Method
from metarl.policies.mlp import GaussianMLP
from metarl.policies.network import Parameters


class Batch(NamedTuple):
    """The time steps of one task's episodes, one after the other, with their advantages."""

    observations: Tensor  # [sample, observation]
    actions: Tensor  # [sample, action]
    advantages: Tensor  # [sample]
    valid: Tensor  # [sample], bool
    episodes: int  # which follow each other, each as long as the horizon


def prepare_batch(episodes: Episodes, task: int, discount: float, gae_lambda: float) -> Batch:
    """The batch of one task, with advantages on a baseline fitted to that task's episodes.

    FloatingPointError if they are not finite.
    """
    observations, valid = episodes.observations[task], episodes.valid[task]
    advantages = estimate_advantages(observations, episodes.rewards[task], valid, discount, gae_lambda)
    require_finite("the advantages are", advantages)
    return Batch(
        observations.flatten(0, 1),
        episodes.actions[task].flatten(0, 1),
        advantages.flatten(),
        valid.flatten(),
        len(valid),
    )


def inner_step(
    network: GaussianMLP,
    parameters: Parameters,
    method: Method,
    step: int,
    batch: Batch,
    second_order: bool,
) -> Parameters:
    """w_l - alpha_l^k * gamma_l * dL/dw_l for every layer l that the method updates, k = ``step`` (p-Meta, eq. 14).

    One task's parameters. The result is differentiable with respect to ``parameters``, step sizes and attention among
    them; without ``second_order`` the inputs x_{l-1} and the gradients g(y_l) count as constants.
    """
    updated = method.updated_layers(network.layer_names)
    mean, trace = network(parameters, batch.observations)
    log_std = network.log_std(parameters)
    log_probabilities = log_probability(mean, log_std, batch.actions)
    loss = policy_gradient_loss(log_probabilities, batch.advantages, batch.valid)
    outputs = [trace[layer].output for layer in updated]
    *at_outputs, at_log_std = torch.autograd.grad(loss, [*outputs, log_std], create_graph=second_order)

    adapted = dict(parameters)
    for layer, at_output in zip(updated, at_outputs, strict=True):
        inputs = trace[layer].input if second_order else trace[layer].input.detach()
        inputs, at_output = attended(network, parameters, method, layer, inputs, at_output, batch)
        gradients = {"weight": at_output.mT @ inputs, "bias": at_output.sum(dim=0), "log_std": at_log_std}
        step_size = parameters[STEP_SIZES][step, network.layer_names.index(layer)]
        for name, gradient in gradients.items():
            if f"{layer}.{name}" in parameters:
                adapted[f"{layer}.{name}"] = parameters[f"{layer}.{name}"] - step_size * gradient
    return adapted


def attended(
    network: GaussianMLP,
    parameters: Parameters,
    method: Method,
    layer: str,
    inputs: Tensor,
    at_output: Tensor,
    batch: Batch,
) -> tuple[Tensor, Tensor]:
    """x_{l-1} and g(y_l), each scaled by its episode's attention scores: gamma * dL/dw is then their product.

    One episode is one sample of the attention, and its valid time steps are averaged like spatial positions. g(y_l)
    is taken per time step rather than per batch, so that its size does not depend on the number of episodes.
    """
    if method.attention is None or layer == network.layer_names[-1]:
        return inputs, at_output
    valid = batch.valid.view(batch.episodes, -1, 1).to(inputs.dtype)
    scaled = {}
    for side, tensor, unit in (("forward", inputs, 1.0), ("backward", at_output, float(batch.valid.sum()))):
        by_episode = tensor.view(batch.episodes, -1, tensor.shape[-1])
        clip = method.attention.clips().get(side)
        if clip is not None:
            summary = unit * (by_episode * valid).sum(dim=1) / valid.sum(dim=1)
            scores = attention_scores(parameters, layer, side, summary, clip)
            by_episode = by_episode * scores.unsqueeze(1)
        scaled[side] = by_episode.flatten(0, 1)
    return scaled["forward"], scaled["backward"]


def as_leaves(parameters: Parameters, trained: tuple[str, ...] | None = None) -> Parameters:
    """Copies without history that gradients can be taken of: those named in ``trained``, or all of them."""
    return {
        name: tensor.detach().requires_grad_(trained is None or name in trained) for name, tensor in parameters.items()
    }
