"""Losses against numbers worked by hand."""

import torch

from metarl import losses

RANDOM = torch.Generator().manual_seed(0)
LOG_PROBABILITIES, ADVANTAGES = torch.randn(2, 7, generator=RANDOM, dtype=torch.float64)
VALID = torch.tensor([True, True, False, True, False, True, True])


def test_policy_gradient_loss_of_the_valid_steps() -> None:
    expected = -(LOG_PROBABILITIES * ADVANTAGES)[VALID].mean()
    torch.testing.assert_close(losses.policy_gradient_loss(LOG_PROBABILITIES, ADVANTAGES, VALID), expected)


def test_surrogate_loss_weighs_by_the_probability_ratio() -> None:
    old = torch.log(torch.tensor([0.2, 0.5]))
    new = torch.log(torch.tensor([0.4, 0.5]))
    loss = losses.surrogate_loss(new, old, torch.tensor([3.0, 4.0]), torch.tensor([True, True]))
    torch.testing.assert_close(loss, torch.tensor(-(2 * 3.0 + 1 * 4.0) / 2))
