"""The batched HalfCheetah against Gymnasium's own, and against itself."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import gymnasium
import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import metarl
from metarl.envs.mujoco.half_cheetah import direction_reward, initial_state, load_model, observe, velocity_reward
from metarl.envs.registry import get_family

FAMILY = get_family("half-cheetah-velocity")


@pytest.fixture(scope="module")
def reference():
    load_model()  # first, or MuJoCo leaves its log in the current folder
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


@given(st.integers(1, 3), st.integers(1, 4), st.integers(0, 2**31 - 1))
@settings(max_examples=15, deadline=None)
def test_shapes_and_finite_numbers(tasks: int, episodes: int, seed: int) -> None:
    simulator = get_family("half-cheetah-direction").make_simulator(1)
    seeds = np.random.default_rng(seed).integers(2**31, size=(tasks, episodes))
    observations = simulator.reset(np.ones((tasks, 1)), seeds)
    transition = simulator.step(np.zeros((tasks, episodes, 6)))
    simulator.close()
    assert observations.shape == transition.observations.shape == (tasks, episodes, 20)
    assert transition.rewards.shape == transition.terminated.shape == (tasks, episodes)
    assert np.isfinite(transition.observations).all() and not transition.terminated.any()


def test_what_is_returned_is_the_callers() -> None:
    simulator = FAMILY.make_simulator(1)
    arguments = np.ones((1, 1)), np.array([[4]])
    simulator.reset(*arguments)
    expected = [simulator.step(np.ones((1, 1, 6))).observations for _ in range(2)]
    simulator.reset(*arguments)[:] = np.nan
    for observations in expected:
        transition = simulator.step(np.ones((1, 1, 6)))
        np.testing.assert_array_equal(transition.observations, observations)
        transition.observations[:] = np.nan
    simulator.close()


def test_simulators_run_side_by_side() -> None:
    """Several Python threads, each with a simulator of its own, give what they give one after the other."""
    actions = np.random.default_rng(2).uniform(-1, 1, (60, 2, 5, 6))

    def roll_out(seed: int) -> np.ndarray:
        simulator = FAMILY.make_simulator(2)
        simulator.reset(np.ones((2, 1)), seed + np.arange(10).reshape(2, 5))
        observations = np.stack([simulator.step(action).observations for action in actions])
        simulator.close()
        return observations

    alone = [roll_out(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as workers:
        together = list(workers.map(roll_out, range(4)))
    np.testing.assert_array_equal(together, alone)


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


@pytest.mark.parametrize("value", [1e30, 1e8, np.inf, np.nan])
def test_a_diverged_simulation_is_named(value: float) -> None:
    simulator = FAMILY.make_simulator(2)
    simulator.reset(np.array([[1.0], [1.5]]), np.arange(6).reshape(2, 3))
    simulator.step(np.zeros((2, 3, 6)))
    simulator.states[4, 12] = value
    with pytest.raises(FloatingPointError, match=r"the simulation diverged in episode 1 of task 1 \(target 1.5 m/s\)"):
        simulator.step(np.zeros((2, 3, 6)))
    # Nothing of it is left in the episodes to come.
    arguments = np.array([[1.0]]), np.array([[0, 1]])
    simulator.reset(*arguments)
    after = simulator.step(np.zeros((1, 2, 6))).observations
    simulator.close()
    fresh = FAMILY.make_simulator(1)
    fresh.reset(*arguments)
    np.testing.assert_array_equal(after, fresh.step(np.zeros((1, 2, 6))).observations)
    fresh.close()


@pytest.mark.parametrize("coordinate", [3, 12, 16])
def test_no_divergence_goes_unnoticed(coordinate: int) -> None:
    """MuJoCo counts the states that it found bad. Whatever it counted, in whichever physics step, is told."""
    simulator = FAMILY.make_simulator(1)
    unnoticed = []
    for value in 10 ** np.linspace(2, 11, 120):
        simulator.reset(np.array([[1.0]]), np.array([[0]]))
        simulator.states[0, coordinate] = value
        told = False
        try:
            simulator.step(np.zeros((1, 1, 6)))
        except FloatingPointError:
            told = True
        warnings = mujoco.mjtWarning
        bad = [warnings.mjWARN_BADQPOS, warnings.mjWARN_BADQVEL, warnings.mjWARN_BADQACC]
        if any(simulator.data[0].warning[kind].number for kind in bad) and not told:
            unnoticed.append(value)
    simulator.close()
    assert unnoticed == []


def test_an_episode_whose_clock_stands_still_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """So MuJoCo leaves an episode that it does not step any further, whatever its reason."""
    simulator = FAMILY.make_simulator(1)
    simulator.reset(np.array([[1.0]]), np.array([[0, 1]]))

    def rollout(models, data, states, controls, state, **_):
        state[:] = states[:, np.newaxis]
        state[0, :, 0] += 0.05

    simulator.pool.close()
    monkeypatch.setattr(simulator, "pool", SimpleNamespace(rollout=rollout))
    with pytest.raises(FloatingPointError, match="the simulation diverged in episode 1 of task 0"):
        simulator.step(np.zeros((1, 2, 6)))


def test_actions_that_are_not_numbers_are_not_taken_for_zeros() -> None:
    simulator = FAMILY.make_simulator(1)
    simulator.reset(np.array([[1.0], [0.5]]), np.arange(4).reshape(2, 2))
    actions = np.zeros((2, 2, 6))
    actions[0, 1] = np.inf  # clipped like any other
    actions[1, 0, 3] = np.nan
    with pytest.raises(FloatingPointError, match=r"the actions are not finite in episode 0 of task 1 \(target 0.5"):
        simulator.step(actions)
    simulator.close()


SCRIPT = """
import sys
import numpy as np
from metarl.envs.registry import FAMILIES, get_family
families = [get_family(name) for name in FAMILIES]
assert [family.horizon for family in families] == [200, 200, 200]
assert "mujoco" not in sys.modules, "imported too early"
simulator = families[1].make_simulator(1)
simulator.reset(np.ones((1, 1)), np.zeros((1, 1), np.int64))
simulator.states[:] = 1e30
try:
    simulator.step(np.zeros((1, 1, 6)))
except FloatingPointError:
    print("diverged")
simulator.close()
"""


def test_mujoco_is_imported_late_and_leaves_no_files(tmp_path: Path) -> None:
    root = Path(metarl.__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "diverged\n"), done.stderr
    assert "settotalmass" not in done.stderr and list(tmp_path.iterdir()) == []
