"""A task family made of a Gymnasium environment."""

import gymnasium
import numpy as np
import pytest

import metarl
from metarl.envs.family import TaskField
from metarl.envs.from_gymnasium import task_family
from metarl.envs.registry import get_family

FIELDS = (TaskField("gravity", 5.0, 15.0, "m/s^2"),)


def set_gravity(environment: gymnasium.Env, task: dict[str, float]) -> None:
    environment.unwrapped.g = task["gravity"]


def pendulum():
    return task_family(
        "pendulum-gravity",
        make_env=lambda **kwargs: gymnasium.make("Pendulum-v1", **kwargs),
        fields=FIELDS,
        set_task=set_gravity,
        horizon=9,
    )


class Countdown(gymnasium.Env):
    """Ends after as many steps as the task says; takes its task as a reset option."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, render_mode=None) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = options["task"]["steps"]
        return np.array([self.left]), {}

    def step(self, action):
        self.left -= 1
        return np.array([self.left]), 1.0, self.left <= 0, False, {}


def test_episodes_equal_the_environments_own() -> None:
    family = pendulum()
    simulator = family.make_simulator(2)
    tasks, seeds = np.array([[6.0], [12.0]]), np.array([[1, 2], [3, 4]])
    observations = [simulator.reset(tasks, seeds)]
    transitions = [simulator.step(np.full((2, 2, 1), 5.0)) for _ in range(3)]
    for task, episode in np.ndindex(2, 2):
        env = gymnasium.make("Pendulum-v1")
        env.unwrapped.g = tasks[task, 0]
        observation, _ = env.reset(seed=int(seeds[task, episode]))
        np.testing.assert_allclose(observations[0][task, episode], observation, rtol=1e-6)
        for transition in transitions:
            observation, reward, _, _, _ = env.step(np.array([2.0], np.float32))
            np.testing.assert_allclose(transition.observations[task, episode], observation, rtol=1e-6)
            np.testing.assert_allclose(transition.rewards[task, episode], reward, rtol=1e-6)
    simulator.close()


def test_an_episode_that_has_ended_stands_still() -> None:
    family = task_family("countdown", Countdown, (TaskField("steps", 1, 5),), horizon=5)
    simulator = family.make_simulator(1)
    assert simulator.reset(np.array([[2.0], [4.0]]), np.zeros((2, 1), np.int64)).ravel().tolist() == [2, 4]
    transitions = [simulator.step(np.zeros((2, 1, 1))) for _ in range(4)]
    assert [transition.terminated.ravel().tolist() for transition in transitions] == [
        [False, False],
        [True, False],
        [True, False],
        [True, True],
    ]
    assert transitions[3].observations.ravel().tolist() == [0, 0]
    assert simulator.reset(np.array([[3.0], [3.0]]), np.zeros((2, 1), np.int64)).ravel().tolist() == [3, 3]


def test_its_single_environment_takes_and_tells_the_task() -> None:
    env = pendulum().make_env()
    _, info = env.reset(seed=0, options={"task": {"gravity": 7.0}})
    assert info["task"] == {"gravity": 7.0} and env.unwrapped.g == 7.0
    drawn = env.reset(seed=0)[1]["task"]["gravity"]
    assert 5 <= drawn <= 15 and env.unwrapped.g == drawn
    assert [env.step(env.action_space.sample())[3] for _ in range(9)] == [False] * 8 + [True]


def test_it_can_be_trained_on_and_found_by_name() -> None:
    family = get_family(f"{__name__}:pendulum") if "." not in __name__ else pendulum()
    controller = metarl.train(family, iterations=1, tasks=2, episodes=2, hidden_sizes=(4,), threads=2)
    returns = metarl.evaluate(controller, tasks=2, family=family).intervals()
    assert len(returns) == 2 and all(np.isfinite(interval.mean) for interval in returns)


def test_spaces_that_are_no_flat_boxes() -> None:
    with pytest.raises(ValueError, match="the action space of cart must be a Box with one axis, got Discrete"):
        task_family("cart", lambda **kwargs: gymnasium.make("CartPole-v1", **kwargs), FIELDS, horizon=5)
