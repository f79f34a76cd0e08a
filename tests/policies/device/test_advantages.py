"""The device's advantages against the training's, and their memory against a count by hand."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from metarl.policies.advantages import MIN_SPREAD, BaselineFeatures, estimate_advantages
from metarl.policies.device.episodes import device_advantages
from metarl.policies.device.meter import Meter
from metarl.policies.device.workload import FEATURE_ROWS, Estimator


def random_episodes(lengths: Sequence[int], width: int, seed: int = 0) -> tuple[list, list]:
    random = np.random.default_rng(seed)
    observations = [random.standard_normal((length, width)).astype(np.float32) for length in lengths]
    return observations, [random.standard_normal(len(each)).astype(np.float32) + each.sum(1) for each in observations]


def on_device(
    observations: list,
    rewards: list,
    discount: float,
    gae_lambda: float,
    meter: Meter | None = None,
    features: BaselineFeatures = "full",
) -> list[np.ndarray]:
    storage = {"observations": observations, "rewards": rewards}
    return device_advantages(storage, Estimator(discount, gae_lambda, features), meter or Meter())


def of_training(
    observations: list, rewards: list, discount: float, gae_lambda: float, features: BaselineFeatures = "full"
) -> list[np.ndarray]:
    lengths = torch.tensor([len(each) for each in rewards])
    valid = torch.arange(int(lengths.max())) < lengths.unsqueeze(1)
    padded = (
        torch.nn.utils.rnn.pad_sequence([torch.from_numpy(each) for each in part], batch_first=True)
        for part in (observations, rewards)
    )
    advantages = estimate_advantages(*padded, valid, discount, gae_lambda, features)
    return [row[:length].numpy() for row, length in zip(advantages, lengths.tolist(), strict=True)]


@pytest.mark.parametrize("lengths", [[30], [9, 4, 40], [FEATURE_ROWS, FEATURE_ROWS + 1, 1], [200] * 3])
@pytest.mark.parametrize(("discount", "gae_lambda"), [(0.99, 1.0), (0.9, 0.8), (0.5, 0.0)])
@pytest.mark.parametrize("features", ["full", "time"])
def test_they_are_those_of_the_training(
    lengths: list[int], discount: float, gae_lambda: float, features: BaselineFeatures
) -> None:
    observations, rewards = random_episodes(lengths, width=3)
    found = on_device(observations, rewards, discount, gae_lambda, features=features)
    for mine, expected in zip(found, of_training(observations, rewards, discount, gae_lambda, features), strict=True):
        np.testing.assert_allclose(mine, expected, atol=2e-4)


def test_features_that_depend_on_each_other_are_no_problem() -> None:
    """Constant observations of very different sizes: the Gram matrix is singular but for the ridge."""
    observations = [np.tile(np.array([1.0, 1.0, 1e3], np.float32), (50, 1)) for _ in range(3)]
    rewards = [np.linspace(0, 1 + number, 50, dtype=np.float32) for number in range(3)]
    found = np.concatenate(on_device(observations, rewards, 0.99, 1.0))
    expected = np.concatenate(of_training(observations, rewards, 0.99, 1.0))
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_the_memory_is_that_of_half_a_gram_matrix() -> None:
    """The triangle, two rows (target, trace) and a block of features, in double precision; then all is free.

    It does not grow with the number of episodes, and with their length only when their advantages take more.
    """
    for lengths in ([200], [200] * 20):
        meter = Meter()
        on_device(*random_episodes(lengths, width=20), 0.99, 1.0, meter)
        assert meter.peak == 8 * (44 * 45 // 2 + 2 * 44 + FEATURE_ROWS * 44)
        assert meter.alive == 0


@pytest.mark.parametrize("lengths", [[200] * 3, [200]])
@pytest.mark.parametrize("spread", [0.0, 0.5 * MIN_SPREAD, 100 * MIN_SPREAD])
def test_rewards_that_tell_nothing_move_nothing(lengths: list[int], spread: float) -> None:
    observations, differing = random_episodes(lengths, width=3)
    rewards = [1 + np.float32(spread) * each for each in differing]
    found = on_device(observations, rewards, 0.99, 1.0)
    expected = of_training(observations, rewards, 0.99, 1.0)
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.any() == theirs.any() == (spread > MIN_SPREAD)


def test_a_reward_for_staying_alive_is_none_that_tells_nothing() -> None:
    observations, _ = random_episodes([20, 5], width=1)
    longer, shorter = on_device(observations, [np.ones(20, np.float32), np.ones(5, np.float32)], 1, 1)
    assert longer[0] > 0 > shorter[0]
