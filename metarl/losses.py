"""Losses of policies and of classifiers, as pure functions."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


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


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return minus the mean log probability of the labels [image] under logits [image, way]."""
    return functional.cross_entropy(logits, labels)
