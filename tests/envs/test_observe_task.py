"""Families whose observations tell the task, in the batched simulator and in the single environment alike."""

import numpy as np
import pytest
from point_family import point_family

from metarl.envs.family import TaskField
from metarl.envs.observe_task import moments, observe_task, standardized
from metarl.envs.registry import get_family


def test_moments_by_hand() -> None:
    assert moments(TaskField("speed", 0.0, 12.0)) == (6.0, pytest.approx(12**0.5))
    assert moments(TaskField("direction", -1.0, 1.0, choices=(-1.0, 1.0))) == (0.0, 1.0)
    fields = (TaskField("speed", 0.0, 12.0), TaskField("same", 3.0, 3.0))
    np.testing.assert_allclose(standardized(fields, np.array([[12.0, 3.0]])), [[3**0.5, 0.0]])


@pytest.mark.parametrize("name", ["half-cheetah-velocity", "half-cheetah-direction", "navigation-2d"])
def test_told_tasks_have_mean_zero_and_deviation_one(name: str) -> None:
    family = get_family(name)
    told = standardized(family.fields, family.sample_tasks(4000, np.random.default_rng(0)))
    np.testing.assert_allclose(told.mean(axis=0), 0, atol=0.06)
    np.testing.assert_allclose(told.std(axis=0), 1, atol=0.03)


@pytest.mark.parametrize("name", ["half-cheetah-velocity", "navigation-2d"])
def test_the_environment_tells_what_the_simulator_tells(name: str) -> None:
    plain = get_family(name)
    family = observe_task(plain)
    size, fields = plain.observation_space.shape[0], len(family.fields)
    assert family.observation_space.shape == (size + fields,)
    tasks = family.sample_tasks(2, np.random.default_rng(1))
    simulator, untold, env = family.make_simulator(1), plain.make_simulator(1), family.make_env()
    batch, bare = simulator.reset(tasks, np.array([[3], [4]])), untold.reset(tasks, np.array([[3], [4]]))
    single, _ = env.reset(seed=4, options={"task": family.task_dict(tasks[1])})
    action = 0.5 * family.action_space.high
    for _ in range(3):
        np.testing.assert_array_equal(batch[..., :size], bare)
        np.testing.assert_allclose(batch[:, 0, size:], standardized(family.fields, tasks))
        np.testing.assert_array_equal(batch[1, 0], single)
        assert family.observation_space.contains(single)
        batch, bare = (each.step(np.tile(action, (2, 1, 1))).observations for each in (simulator, untold))
        single = env.step(action)[0]
    env.close()


def test_a_point_is_told_its_target() -> None:
    """Targets are uniform in [-1, 1], whose deviation is 1 / sqrt(3)."""
    simulator = observe_task(point_family()).make_simulator(1)
    observations = simulator.reset(np.array([[0.5]]), np.array([[0, 1]]))
    np.testing.assert_allclose(observations[0, :, 1], 0.5 * 3**0.5)
