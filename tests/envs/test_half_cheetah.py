"""The batched HalfCheetah against Gymnasium's own, and against itself."""

import gymnasium
import numpy as np
import pytest

from metarl.envs.half_cheetah import direction_reward, initial_state, load_model, observe, velocity_reward
from metarl.envs.registry import get_family

FAMILY = get_family("half-cheetah-velocity")


@pytest.fixture(scope="module")
def reference():
    env = gymnasium.make("HalfCheetah-v5").unwrapped
    yield env
    env.close()


def test_transitions_equal_gymnasiums(reference) -> None:
    """From Gymnasium's state before each step, with the same action, to its state after it."""
    simulator = FAMILY.make_simulator(2)
    random = np.random.default_rng(0)
    reference.reset(seed=0)
    seeds = np.zeros((1, 3), np.int64)
    simulator.reset(np.array([[1.5]]), seeds)
    largest = 0.0
    for _ in range(300):
        action = random.uniform(-1.3, 1.3, 6)
        before = np.concatenate([[reference.data.time], reference.data.qpos, reference.data.qvel])
        simulator.states = np.tile(before, (3, 1))
        transition = simulator.step(np.broadcast_to(action, (1, 3, 6)))
        _, _, _, _, info = reference.step(np.clip(action, -1, 1))
        after = np.concatenate([reference.data.qpos[1:], reference.data.qvel])
        largest = max(largest, np.abs(transition.observations[0, :, :17] - after).max())
        expected = -abs(info["x_velocity"] - 1.5) - 0.05 * (np.clip(action, -1, 1) ** 2).sum()
        np.testing.assert_allclose(transition.rewards[0], expected, atol=1e-9)
    assert largest < 1e-9
    simulator.close()


def test_starts_as_gymnasiums_does(reference) -> None:
    reference.reset(seed=11)
    np.testing.assert_array_equal(initial_state(11)[1:], np.concatenate([reference.data.qpos, reference.data.qvel]))


def test_the_observation_tells_where_the_torso_is(reference) -> None:
    reference.reset(seed=5)
    state = np.concatenate([[0.0], reference.data.qpos, reference.data.qvel])
    observation = observe(state[np.newaxis], float(load_model().body("torso").pos[2]))[0]
    np.testing.assert_allclose(observation[17:], reference.data.body("torso").xpos, atol=1e-12)
    np.testing.assert_array_equal(observation[:17], state[2:])


def test_rewards_by_hand() -> None:
    actions = np.array([[1.0, -1.0, 0.5, 0, 0, 0], [0, 0, 0, 0, 0, 2.0]])
    velocities, tasks = np.array([1.2, -0.5]), np.array([2.0, -1.0])
    np.testing.assert_allclose(velocity_reward(velocities, actions, tasks), [-0.8 - 0.1125, -0.5 - 0.2])
    np.testing.assert_allclose(direction_reward(velocities, actions, tasks), [2.4 - 0.1125, 0.5 - 0.2])


@pytest.mark.parametrize("threads", [1, 3])
def test_episodes_do_not_depend_on_threads_or_neighbours(threads: int) -> None:
    random = np.random.default_rng(1)
    tasks, seeds = random.uniform(0, 2, (4, 1)), random.integers(2**31, size=(4, 3))
    actions = random.uniform(-1, 1, (20, 4, 3, 6))

    def roll_out(chosen: slice, threads: int) -> np.ndarray:
        simulator = FAMILY.make_simulator(threads)
        outcomes = [simulator.reset(tasks[chosen], seeds[chosen])]
        outcomes += [simulator.step(action[chosen]).observations for action in actions]
        simulator.close()
        return np.stack(outcomes)

    everything = roll_out(slice(None), 2)
    np.testing.assert_array_equal(roll_out(slice(None), threads), everything)
    np.testing.assert_array_equal(roll_out(slice(1, 3), threads), everything[:, 1:3])


@pytest.mark.parametrize("value", [1e30, np.nan, np.inf])
def test_a_diverged_simulation_is_told_apart(value: float) -> None:
    simulator = FAMILY.make_simulator(2)
    simulator.reset(np.array([[1.0], [2.0]]), np.array([[0, 1], [2, 3]]))
    simulator.step(np.zeros((2, 2, 6)))
    simulator.states[3, 12] = value
    with pytest.raises(FloatingPointError, match="diverged in episode 1 of task 1"):
        simulator.step(np.zeros((2, 2, 6)))
    simulator.close()
