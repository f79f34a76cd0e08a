"""Returns, baseline and advantages against numbers worked by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metarl.policies.advantages import (
    BLOCK,
    MIN_SPREAD,
    discounted_returns,
    estimate_advantages,
    fit_baseline,
    generalized_advantages,
    normalize,
    tell_nothing,
    time_polynomial_features,
)


def test_discounted_returns_by_hand() -> None:
    rewards = torch.tensor([[1.0, 2.0, 4.0], [0.0, 0.0, 8.0]])
    expected = torch.tensor([[1 + 0.5 * 2 + 0.25 * 4, 2 + 0.5 * 4, 4], [2, 4, 8]])
    assert torch.equal(discounted_returns(rewards, 0.5), expected)


@pytest.mark.parametrize("horizon", [BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7])
def test_long_episodes_are_discounted_as_by_a_loop(horizon: int) -> None:
    rewards = torch.randn(2, horizon, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    total, expected = torch.zeros(2, dtype=torch.float64), []
    for reward in reversed(rewards.unbind(dim=1)):
        total = reward + 0.97 * total
        expected.append(total)
    torch.testing.assert_close(discounted_returns(rewards, 0.97), torch.stack(expected[::-1], dim=1))


def test_features_by_hand() -> None:
    features = time_polynomial_features(torch.tensor([[3.0], [-2.0]]))
    expected = torch.tensor([[3, 9, 0, 0, 0, 1], [-2, 4, 0.01, 0.01**2, 0.01**3, 1]])
    torch.testing.assert_close(features, expected)


def test_generalized_advantages_by_hand() -> None:
    rewards = torch.tensor([[1.0, 1.0, 5.0]])
    values = torch.tensor([[2.0, 3.0, 100.0]])
    valid = torch.tensor([[True, True, False]])
    # The episode ended after two steps: no value follows, and what stands at the third step must not matter.
    errors = [1 + 0.9 * 3 - 2, 1 - 3]
    expected = torch.tensor([[errors[0] + 0.9 * 0.8 * errors[1], errors[1], 0.0]])
    torch.testing.assert_close(generalized_advantages(rewards, values, valid, 0.9, 0.8), expected)


def test_lambda_one_gives_returns_minus_values() -> None:
    random = torch.Generator().manual_seed(0)
    rewards, values = torch.randn(2, 4, 9, generator=random, dtype=torch.float64)
    valid = torch.ones(4, 9, dtype=torch.bool)
    expected = discounted_returns(rewards, 0.97) - values
    torch.testing.assert_close(generalized_advantages(rewards, values, valid, 0.97, 1.0), expected)


def test_baseline_equals_numpy_least_squares_on_the_valid_steps() -> None:
    random = torch.Generator().manual_seed(1)
    features = torch.randn(5, 30, 4, generator=random, dtype=torch.float64)
    returns = torch.randn(5, 30, generator=random, dtype=torch.float64)
    valid = torch.rand(5, 30, generator=random) < 0.7
    weights = np.linalg.lstsq(features[valid].numpy(), returns[valid].numpy(), rcond=None)[0]
    values = fit_baseline(features, returns, valid, ridge=0.0)
    np.testing.assert_allclose(values.numpy(), features.numpy() @ weights, atol=1e-10)


def test_baseline_survives_features_that_depend_on_each_other() -> None:
    features = torch.ones(2, 10, 3)
    values = fit_baseline(features, torch.full((2, 10), 4.0), torch.ones(2, 10, dtype=torch.bool))
    torch.testing.assert_close(values, torch.full((2, 10), 4.0), atol=1e-3, rtol=0)


@given(st.integers(1, 4), st.integers(2, 12), st.integers(0, 2**31 - 1))
def test_normalized_over_the_valid_steps(episodes: int, horizon: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    advantages = torch.randn(episodes, horizon, generator=random, dtype=torch.float64)
    valid = torch.rand(episodes, horizon, generator=random) < 0.8
    valid[0, :2] = True
    normalized = normalize(advantages, valid)
    assert (normalized[~valid] == 0).all()
    torch.testing.assert_close(normalized[valid].mean(), torch.tensor(0.0, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(normalized[valid].std(correction=0), torch.tensor(1.0, dtype=torch.float64))


def test_steps_after_a_termination_do_not_matter() -> None:
    random = torch.Generator().manual_seed(2)
    observations = torch.randn(6, 20, 3, generator=random)
    rewards = torch.randn(6, 20, generator=random)
    valid = torch.arange(20) < torch.tensor([20, 3, 7, 20, 11, 1]).unsqueeze(1)
    spoiled = torch.where(valid, rewards, 1e6)
    reference = estimate_advantages(observations, rewards, valid, 0.99, 1.0)
    assert torch.equal(estimate_advantages(observations, spoiled, valid, 0.99, 1.0), reference)


def returns_that_differ_by(spread: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Two episodes of three steps, undiscounted: the second one is rewarded by ``spread`` more in its last step.

    At every step the returns then lie spread / 2 beside their mean, so the sum of the squared differences is
    6 (spread / 2)^2; that of the squared returns is about 2 (3^2 + 2^2 + 1^2) = 28.
    """
    rewards = torch.ones(2, 3, dtype=torch.float64)
    rewards[1, 2] += spread
    return rewards, discounted_returns(rewards, 1.0)


def test_the_least_spread_by_hand() -> None:
    valid = torch.ones(2, 3, dtype=torch.bool)
    limit = MIN_SPREAD * (28 / 6) ** 0.5 * 2
    assert tell_nothing(*returns_that_differ_by(0.99 * limit), valid)
    assert not tell_nothing(*returns_that_differ_by(1.01 * limit), valid)


def test_a_single_episode_is_compared_with_its_mean() -> None:
    """Of rewards 1 and 1 + x the differences are x / 2 twice, so their sum of squares is x^2 / 2; the rewards' is 2."""
    valid = torch.ones(1, 2, dtype=torch.bool)
    for factor in (0.99, 1.01):
        rewards = torch.tensor([[1.0, 1.0 + factor * 2 * MIN_SPREAD]], dtype=torch.float64)
        assert tell_nothing(rewards, discounted_returns(rewards, 1.0), valid) == (factor < 1)


@pytest.mark.parametrize("reward", [1.0, -7.5, 0.0, 1e-6])
@pytest.mark.parametrize("episodes", [1, 20])
def test_a_constant_reward_gives_no_advantage(reward: float, episodes: int) -> None:
    observations = torch.randn(episodes, 200, 20, generator=torch.Generator().manual_seed(4))
    valid = torch.ones(episodes, 200, dtype=torch.bool)
    advantages = estimate_advantages(observations, torch.full((episodes, 200), reward), valid, 0.99, 1.0)
    assert torch.equal(advantages, torch.zeros(episodes, 200))


def test_a_reward_for_staying_alive_tells_which_episode_was_longer() -> None:
    valid = torch.arange(20) < torch.tensor([20, 5]).unsqueeze(1)
    advantages = estimate_advantages(torch.zeros(2, 20, 1), torch.ones(2, 20), valid, 0.99, 1.0)
    assert advantages[0, 0] > 0 > advantages[1, 0]


def test_numbers_that_are_not_finite_are_not_hidden() -> None:
    rewards = torch.ones(2, 3)
    rewards[0, 0] = torch.nan
    valid = torch.ones(2, 3, dtype=torch.bool)
    assert not estimate_advantages(torch.zeros(2, 3, 1), rewards, valid, 0.99, 1.0).isfinite().all()
