"""2D navigation, with numbers worked by hand."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

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
    observations += 7  # the caller's own
    transition = simulator.step(actions)
    transition.observations[:] += 7
    assert transition.terminated.tolist() == [[True, True], [False, False]]
    np.testing.assert_allclose(transition.rewards[:, 0], [0.0, -np.hypot(0.4, 0.5)], atol=1e-12)
    np.testing.assert_allclose(simulator.step(actions).observations[1, 1], [0.2, 0.0])


def test_the_single_environment_ends_at_the_goal() -> None:
    env = get_family("navigation-2d").make_env()
    env.reset(seed=0, options={"task": {"goal_x": 0.2, "goal_y": -0.05}})
    first = env.step(np.array([0.1, -0.05], np.float32))
    second = env.step(np.array([1.0, 0.0], np.float32))
    np.testing.assert_allclose([first[1], second[1]], [-0.1, 0.0], atol=1e-8)
    assert [first[2], second[2]] == [False, True] and not second[3]
    env.close()


@given(arrays(np.float64, array_shapes(min_dims=1, max_dims=4), elements=st.floats(-1, 1)), st.floats(-0.5, 0.5))
def test_any_leading_axes(xs: np.ndarray, goal: float) -> None:
    """Whatever the leading axes, each point is treated as it would be alone."""
    positions = np.stack([xs, xs[::-1]], axis=-1)
    goals = np.broadcast_to(goal, positions.shape)
    moved = move(positions, positions)
    assert moved.shape == positions.shape and np.abs(moved - positions).max() <= 0.1 + 1e-12
    assert reward(positions, goals).shape == reached(positions, goals).shape == xs.shape
    for index in np.ndindex(xs.shape):
        distance = math.hypot(*(float(value) - goal for value in positions[index]))
        assert math.isclose(reward(positions, goals)[index], -distance, abs_tol=1e-12)
        assert reached(positions, goals)[index] == all(abs(value - goal) < 0.01 for value in positions[index])
