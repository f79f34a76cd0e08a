"""Gaussian log probabilities and divergences against torch.distributions."""

import torch
from torch.distributions import Independent, Normal, kl_divergence

from metarl import losses

RANDOM = torch.Generator().manual_seed(0)
MEAN, NEW_MEAN, ACTIONS = torch.randn(3, 7, 2, generator=RANDOM, dtype=torch.float64)
LOG_STD, NEW_LOG_STD = torch.randn(2, 2, generator=RANDOM, dtype=torch.float64)
ADVANTAGES = torch.randn(7, generator=RANDOM, dtype=torch.float64)
VALID = torch.tensor([True, True, False, True, False, True, True])


def gaussian(mean: torch.Tensor, log_std: torch.Tensor) -> Independent:
    return Independent(Normal(mean, log_std.exp()), 1)


def test_log_probability() -> None:
    expected = gaussian(MEAN, LOG_STD).log_prob(ACTIONS)
    torch.testing.assert_close(losses.log_probability(MEAN, LOG_STD, ACTIONS), expected)


def test_kl_divergence_of_the_valid_steps() -> None:
    expected = kl_divergence(gaussian(MEAN, LOG_STD), gaussian(NEW_MEAN, NEW_LOG_STD))[VALID].mean()
    torch.testing.assert_close(losses.kl_divergence(MEAN, LOG_STD, NEW_MEAN, NEW_LOG_STD, VALID), expected)


def test_policy_gradient_loss_of_the_valid_steps() -> None:
    log_probabilities = losses.log_probability(MEAN, LOG_STD, ACTIONS)
    expected = -(log_probabilities * ADVANTAGES)[VALID].mean()
    torch.testing.assert_close(losses.policy_gradient_loss(log_probabilities, ADVANTAGES, VALID), expected)


def test_surrogate_loss_weighs_by_the_probability_ratio() -> None:
    old = torch.log(torch.tensor([0.2, 0.5]))
    new = torch.log(torch.tensor([0.4, 0.5]))
    loss = losses.surrogate_loss(new, old, torch.tensor([3.0, 4.0]), torch.tensor([True, True]))
    torch.testing.assert_close(loss, torch.tensor(-(2 * 3.0 + 1 * 4.0) / 2))
