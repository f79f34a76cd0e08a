"""Losses and divergences of diagonal Gaussian policies [sample, action], and of classifiers. Pure functions."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional


def log_probability(mean: Tensor, log_std: Tensor, actions: Tensor) -> Tensor:
    """log pi(a | s) [sample] of actions [sample, action]; ``log_std`` [action]."""
    standardized = (actions - mean) * (-log_std).exp()
    return -(0.5 * standardized**2 + log_std + 0.5 * math.log(2 * math.pi)).sum(dim=-1)


def policy_gradient_loss(log_probabilities: Tensor, advantages: Tensor, valid: Tensor) -> Tensor:
    """Vanilla policy gradient (Williams 1992): minus the mean of log pi * advantage over the valid steps."""
    return -(log_probabilities * advantages * valid).sum() / valid.sum()


def surrogate_loss(log_probabilities: Tensor, old: Tensor, advantages: Tensor, valid: Tensor) -> Tensor:
    """Minus the importance-weighted mean advantage (TRPO, Schulman et al. 2015, eq. 14)."""
    return -((log_probabilities - old).exp() * advantages * valid).sum() / valid.sum()


def kl_divergence(mean: Tensor, log_std: Tensor, new_mean: Tensor, new_log_std: Tensor, valid: Tensor) -> Tensor:
    """Mean KL(old || new) of two Gaussian policies over valid samples: means [sample, action], log stds [action]."""
    ratio = (2 * (log_std - new_log_std)).exp()
    shift = (mean - new_mean) ** 2 * (-2 * new_log_std).exp()
    divergence = 0.5 * (ratio + shift - 1).sum(dim=-1) + (new_log_std - log_std).sum()
    return (divergence * valid).sum() / valid.sum()


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Minus the mean log probability of the labels [image] under logits [image, way]."""
    return functional.cross_entropy(logits, labels)
