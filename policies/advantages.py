"""Returns, the linear baseline and generalized advantage estimation. Pure functions on [..., episode, time] tensors."""

from __future__ import annotations

import torch
from torch import Tensor


def discounted_returns(rewards: Tensor, discount: float) -> Tensor:
    """sum_{s >= t} discount^(s - t) * rewards[s] for every t; shapes [..., time].

    One matrix product instead of a loop over time.
    """
    time = torch.arange(rewards.shape[-1])
    ahead = time.unsqueeze(1) - time
    weights = (discount ** ahead.clamp_min(0).double()).tril()
    return rewards @ weights.to(rewards.dtype)


def time_polynomial_features(observations: Tensor) -> Tensor:
    """[o, o^2, t, t^2, t^3, 1] with t in hundreds of steps: [..., time, observation] -> [..., time, 2 observation + 4].

    The features of the linear baseline in Duan et al. (2016), "Benchmarking Deep Reinforcement Learning".
    """
    horizon = observations.shape[-2]
    time = torch.arange(horizon, dtype=observations.dtype) / 100
    powers = torch.stack([time, time**2, time**3, torch.ones_like(time)], dim=-1)
    return torch.cat([observations, observations**2, powers.expand(*observations.shape[:-1], 4)], dim=-1)


def fit_baseline(features: Tensor, returns: Tensor, valid: Tensor, ridge: float = 1e-5) -> Tensor:
    """The values [episode, time] of a ridge regression of ``returns`` on ``features`` over the valid steps.

    ``features`` [episode, time, feature]. Solved in float64; an ill-conditioned system is solved with more ridge.
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
    """GAE (Schulman et al. 2016, eq. 16) on [..., time]; the value after the last valid step is zero."""
    values = values * valid
    following = torch.cat([values[..., 1:], torch.zeros_like(values[..., :1])], dim=-1)
    errors = (rewards + discount * following - values) * valid
    return discounted_returns(errors, discount * gae_lambda)


def normalize(advantages: Tensor, valid: Tensor) -> Tensor:
    """Zero mean and unit standard deviation over the valid steps, zero elsewhere."""
    count = valid.sum()
    mean = (advantages * valid).sum() / count
    centred = (advantages - mean) * valid
    return centred / ((centred**2).sum() / count).sqrt().clamp_min(1e-8)


def estimate_advantages(
    observations: Tensor, rewards: Tensor, valid: Tensor, discount: float, gae_lambda: float
) -> Tensor:
    """Normalized advantages [episode, time] of one task's episodes, on a baseline fitted to these episodes."""
    rewards = rewards * valid
    returns = discounted_returns(rewards, discount)
    values = fit_baseline(time_polynomial_features(observations), returns, valid)
    return normalize(generalized_advantages(rewards, values, valid, discount, gae_lambda), valid)
