"""Returns, the linear baseline and generalized advantage estimation, as pure functions."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

BaselineFeatures = Literal["full", "time"]  # of the linear baseline: [o, o^2, t, t^2, t^3, 1], or without observations

BLOCK = 256  # time steps that are discounted in one matrix product
MIN_SPREAD = 1e-4  # of the returns, relative to their size, below which they tell no action from another


def discounted_returns(rewards: Tensor, discount: float) -> Tensor:
    """Return sum_{s >= t} discount^(s - t) * rewards[s] for every t, as a tensor [..., time] like ``rewards``.

    A matrix product per block of time steps, from the last block to the first: a loop over single steps is slower, and
    one matrix for all of a long episode needs memory that grows with the square of its length.
    """
    horizon = rewards.shape[-1]
    time = torch.arange(min(horizon, BLOCK))
    ahead = time.unsqueeze(1) - time
    weights = (discount ** ahead.clamp_min(0).double()).tril().to(rewards.dtype)
    if horizon <= BLOCK:
        return rewards @ weights
    returns = torch.empty_like(rewards)
    following = torch.zeros_like(rewards[..., :1])  # the return at the first step of the block after this one
    for start in reversed(range(0, horizon, BLOCK)):
        block = rewards[..., start : start + BLOCK]
        size = block.shape[-1]
        until_next = (discount ** torch.arange(size, 0, -1).double()).to(rewards.dtype)
        sums = block @ weights[:size, :size] + following * until_next
        returns[..., start : start + BLOCK] = sums
        following = sums[..., :1]
    return returns


def time_polynomial_features(observations: Tensor, features: BaselineFeatures = "full") -> Tensor:
    """Return the features [o, o^2, t, t^2, t^3, 1] of every time step, with t in hundreds of steps.

    Observations [..., time, observation] give features [..., time, 2 observation + 4], or 4 without the observations.

    These are the features of the linear baseline in Duan et al. (2016), "Benchmarking Deep Reinforcement Learning".
    """
    horizon = observations.shape[-2]
    time = torch.arange(horizon, dtype=observations.dtype) / 100
    powers = torch.stack([time, time**2, time**3, torch.ones_like(time)], dim=-1)
    powers = powers.expand(*observations.shape[:-1], 4)
    return powers if features == "time" else torch.cat([observations, observations**2, powers], dim=-1)


def fit_baseline(features: Tensor, returns: Tensor, valid: Tensor, ridge: float = 1e-5) -> Tensor:
    """Fit the values by a ridge regression of the returns on the features, in float64.

    Args:
        features: [episode, time, feature].
        returns: [episode, time].
        valid: [episode, time], bool: the steps that the regression is fitted to.
        ridge: Added to the diagonal of the Gram matrix, and more where the system is ill-conditioned.

    Returns:
        The values [episode, time].
    """
    flat = (features * valid.unsqueeze(-1)).flatten(0, 1).double()
    gram = flat.mT @ flat
    target = flat.mT @ (returns * valid).flatten().double()
    identity = torch.eye(len(gram), dtype=gram.dtype)
    for _ in range(6):
        weights, info = torch.linalg.solve_ex(gram + ridge * identity, target)
        if info == 0 and bool(torch.isfinite(weights).all()):
            break
        ridge *= 10
    return torch.matmul(features, weights.to(features.dtype))


def generalized_advantages(
    rewards: Tensor, values: Tensor, valid: Tensor, discount: float, gae_lambda: float
) -> Tensor:
    """Return generalized advantage estimates (Schulman et al. 2016, eq. 16).

    Args:
        rewards: [..., time].
        values: [..., time], of the baseline; the value after the last valid step counts as zero.
        valid: [..., time], bool.
        discount: The discount gamma.
        gae_lambda: The weight lambda of later errors.

    Returns:
        The advantages [..., time].
    """
    values = values * valid
    following = torch.cat([values[..., 1:], torch.zeros_like(values[..., :1])], dim=-1)
    errors = (rewards + discount * following - values) * valid
    return discounted_returns(errors, discount * gae_lambda)


def normalize(advantages: Tensor, valid: Tensor) -> Tensor:
    """Bring advantages to zero mean and unit standard deviation over the valid steps, and to zero elsewhere."""
    count = valid.sum()
    mean = (advantages * valid).sum() / count
    centred = (advantages - mean) * valid
    return centred / ((centred**2).sum() / count).sqrt().clamp_min(1e-8)


def tell_nothing(rewards: Tensor, returns: Tensor, valid: Tensor) -> bool:
    """Return whether all actions were rewarded alike: what a baseline leaves of such returns is its own misfit.

    The returns at the same time step must differ between the episodes by a standard deviation of more than MIN_SPREAD
    of their root mean square; after its end an episode's return is zero. A single episode has nothing to be compared
    with, so there it is the rewards that must differ from their mean. NaN counts as a difference.

    Args:
        rewards: [episode, time], zero at steps that are not valid.
        returns: [episode, time], the discounted returns.
        valid: [episode, time], bool.

    Returns:
        Whether the differences are too small to learn from.
    """
    if len(rewards) > 1:
        values = returns.double()
        differences = values - values.mean(dim=0)
    else:
        values = rewards[valid].double()
        differences = values - values.mean()
    return bool(differences.square().sum() <= MIN_SPREAD**2 * values.square().sum())


def estimate_advantages(
    observations: Tensor,
    rewards: Tensor,
    valid: Tensor,
    discount: float,
    gae_lambda: float,
    features: BaselineFeatures = "full",
) -> Tensor:
    """Estimate the normalized advantages of one task's episodes, on a baseline fitted to these episodes.

    Args:
        observations: [episode, time, observation].
        rewards: [episode, time].
        valid: [episode, time], bool: False after an episode has ended.
        discount: The discount gamma.
        gae_lambda: Lambda of generalized advantage estimation.
        features: The features of the baseline.

    Returns:
        The advantages [episode, time], all zero if the rewards tell no action from another.
    """
    rewards = rewards * valid
    returns = discounted_returns(rewards, discount)
    if tell_nothing(rewards, returns, valid):
        return torch.zeros_like(rewards)
    values = fit_baseline(time_polynomial_features(observations, features), returns, valid)
    return normalize(generalized_advantages(rewards, values, valid, discount, gae_lambda), valid)
