"""2D navigation, with numbers worked by hand."""

import numpy as np

from metarl.envs.navigation import move, reached, reward, sample_goals
from metarl.envs.registry import get_family


def test_moves_are_clipped() -> None:
    np.testing.assert_allclose(move(np.array([0.1, -0.2]), np.array([0.5, -0.03])), [0.2, -0.23])


def test_reward_is_minus_the_distance() -> None:
    np.testing.assert_allclose(reward(np.array([[0.3, 0.0], [0.0, 0.0]]), np.array([0.0, 0.4])), [-0.5, -0.4])


def test_reached_within_a_hundredth_along_both_axes() -> None:
    positions = np.array([[0.209, 0.291], [0.211, 0.3], [0.2, 0.311]])
    assert reached(positions, np.array([0.2, 0.3])).tolist() == [True, False, False]


def test_goals_fill_the_square() -> None:
    goals = sample_goals(4000, np.random.default_rng(0))
    assert goals.shape == (4000, 2) and np.abs(goals).max() <= 0.5
    np.testing.assert_allclose(goals.mean(axis=0), 0, atol=0.02)
    np.testing.assert_allclose(goals.std(axis=0), 1 / np.sqrt(12), atol=0.01)


def test_an_episode_goes_on_standing_for_the_others() -> None:
    simulator = get_family("navigation-2d").make_simulator(1)
    observations = simulator.reset(np.array([[0.1, 0.0], [0.5, 0.5]]), np.zeros((2, 2), np.int64))
    assert observations.shape == (2, 2, 2) and not observations.any()
    actions = np.broadcast_to([0.1, 0.0], (2, 2, 2))
    transition = simulator.step(actions)
    assert transition.terminated.tolist() == [[True, True], [False, False]]
    np.testing.assert_allclose(transition.rewards[:, 0], [0.0, -np.hypot(0.4, 0.5)])
