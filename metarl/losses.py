"""Losses and divergences of diagonal Gaussian policies and of classifiers, as pure functions."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional


def log_probability(mean: Tensor, log_std: Tensor, actions: Tensor) -> Tensor:
    """Return log pi(a | s) [sample] of actions [sample, action], given means [sample, action] and log stds [action]."""
    standardized = (actions - mean) * (-log_std).exp()
    return -(0.5 * standardized**2 + log_std + 0.5 * math.log(2 * math.pi)).sum(dim=-1)


def policy_gradient_loss(log_probabilities: Tensor, advantages: Tensor, valid: Tensor) -> Tensor:
    """Return minus the mean of log pi * advantage over the valid steps: the vanilla policy gradient (Williams 1992).

    All arguments are [sample].
    """
    return -(log_probabilities * advantages * valid).sum() / valid.sum()


def surrogate_loss(log_probabilities: Tensor, old: Tensor, advantages: Tensor, valid: Tensor) -> Tensor:
    """Return minus the importance-weighted mean advantage (TRPO, Schulman et al. 2015, eq. 14).

    Args:
        log_probabilities: [sample], of the actions under the new policy.
        old: [sample], of the actions under the policy that took them.
        advantages: [sample].
        valid: [sample], bool: the steps that count.

    Returns:
        The loss, a tensor without axes.
    """
    return -((log_probabilities - old).exp() * advantages * valid).sum() / valid.sum()


def kl_divergence(mean: Tensor, log_std: Tensor, new_mean: Tensor, new_log_std: Tensor, valid: Tensor) -> Tensor:
    """Return the mean KL(old || new) of two Gaussian policies over the valid samples.

    Args:
        mean: [sample, action], of the old policy.
        log_std: [action], of the old policy.
        new_mean: [sample, action].
        new_log_std: [action].
        valid: [sample], bool: the steps that count.

    Returns:
        The divergence in nats, a tensor without axes.
    """
    ratio = (2 * (log_std - new_log_std)).exp()
    shift = (mean - new_mean) ** 2 * (-2 * new_log_std).exp()
    divergence = 0.5 * (ratio + shift - 1).sum(dim=-1) + (new_log_std - log_std).sum()
    return (divergence * valid).sum() / valid.sum()


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return minus the mean log probability of the labels [image] under logits [image, way]."""
    return functional.cross_entropy(logits, labels)
