"""A task family made of a Gymnasium environment."""

import os
import sys
from types import SimpleNamespace

import cloudpickle
import gymnasium
import numpy as np
import pytest

import metarl
from metarl.envs.family import TaskField, sample_fields
from metarl.envs.from_gymnasium import task_family
from metarl.envs.registry import get_family

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test

FIELDS = (TaskField("gravity", 5.0, 15.0, "m/s^2"),)


def set_gravity(environment: gymnasium.Env, task: dict[str, float]) -> None:
    environment.unwrapped.g = task["gravity"]


def pendulum(**changes):
    return task_family(
        "pendulum-gravity",
        make_env=lambda **kwargs: gymnasium.make("Pendulum-v1", **kwargs),
        fields=FIELDS,
        set_task=set_gravity,
        horizon=9,
        **changes,
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

    def process(self) -> int:
        return os.getpid()

    def render(self):
        return np.full((2, 3, 3), self.left, np.uint8) if self.render_mode == "rgb_array" else None


class TakingTurns(Countdown):
    """A countdown whose episodes can wait."""

    made = 0

    def __init__(self, render_mode=None) -> None:
        super().__init__(render_mode)
        type(self).made += 1

    def suspend(self) -> float:
        return self.left

    def resume(self, state: float) -> None:
        self.left = state


def test_episodes_take_turns_in_an_environment_that_can_suspend_them() -> None:
    fields = (TaskField("steps", 1, 9),)
    episodes = []
    for make_env in (Countdown, TakingTurns):
        simulator = task_family("countdown", make_env, fields, 9, processes=False).make_simulator(1)
        TakingTurns.made = 0
        for _ in range(2):
            starts = simulator.reset(np.array([[2.0], [4.0], [3.0]]), np.zeros((3, 2), np.int64))
            steps = [simulator.step(np.zeros((3, 2, 1))) for _ in range(4)]
        assert TakingTurns.made == (make_env is TakingTurns)
        simulator.close()
        episodes.append([starts, *(np.stack([each.observations[..., 0], each.rewards]) for each in steps)])
    for own, shared in zip(*episodes, strict=True):
        np.testing.assert_array_equal(own, shared)
    np.testing.assert_array_equal(episodes[1][0][..., 0], [[2, 2], [4, 4], [3, 3]])


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


@pytest.mark.parametrize("processes", [False, True])
def test_an_episode_that_has_ended_stands_still(processes: bool) -> None:
    family = task_family("countdown", Countdown, (TaskField("steps", 1, 5),), horizon=5, processes=processes)
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
    assert [transition.rewards.ravel().tolist() for transition in transitions] == [[1, 1], [1, 1], [0, 1], [0, 1]]
    assert simulator.reset(np.array([[3.0], [3.0]]), np.zeros((2, 1), np.int64)).ravel().tolist() == [3, 3]
    assert simulator.reset(np.array([[5.0]]), np.zeros((1, 3), np.int64)).ravel().tolist() == [5, 5, 5]
    assert not simulator.step(np.zeros((1, 3, 1))).terminated.any()
    simulator.close()
    simulator.close()


def test_processes_change_nothing() -> None:
    actions = np.random.default_rng(0).uniform(-2, 2, (4, 2, 1, 1))
    outcomes = []
    for processes in (False, True):
        simulator = pendulum(processes=processes).make_simulator(1)
        first = simulator.reset(np.array([[6.0], [12.0]]), np.array([[1], [2]]))
        outcomes.append(np.stack([first, *(simulator.step(action).observations for action in actions)]))
        simulator.close()
    np.testing.assert_array_equal(*outcomes)


def test_its_single_environment_takes_and_tells_the_task() -> None:
    env = pendulum().make_env()
    _, info = env.reset(seed=0, options={"task": {"gravity": 7.0}})
    assert info["task"] == {"gravity": 7.0} and env.unwrapped.g == 7.0
    assert env.reset(options={"task": [8.0]})[1]["task"] == {"gravity": 8.0}
    for task, sentence in (
        ({"gravity": 99.0}, r"'gravity' of pendulum-gravity must lie in \[5, 15\], got 99"),
        ({"mass": 1.0}, "unknown task field 'mass': a task of pendulum-gravity has the fields gravity"),
        ([1.0, 2.0], r"got the shape \(2,\)"),
    ):
        with pytest.raises(ValueError, match=sentence):
            env.reset(options={"task": task})
    drawn = env.reset(seed=0)[1]["task"]["gravity"]
    assert 5 <= drawn <= 15 and env.unwrapped.g == drawn
    assert [env.step(env.action_space.sample())[3] for _ in range(9)] == [False] * 8 + [True]


def test_other_options_reach_the_environment() -> None:
    env = pendulum().make_env()
    observation, _ = env.reset(seed=0, options={"task": {"gravity": 7.0}, "x_init": 0.0, "y_init": 0.0})
    assert observation.tolist() == [1.0, 0.0, 0.0]


def test_tasks_come_from_the_sampler_that_was_given_and_from_the_seed() -> None:
    env = pendulum(sample_tasks=lambda count, generator: generator.choice([6.0, 7.0], (count, 1))).make_env()
    assert {env.reset(seed=seed)[1]["task"]["gravity"] for seed in range(12)} == {6.0, 7.0}
    env = pendulum().make_env()
    episodes = [[env.reset(seed=3), env.reset(), env.reset()] for _ in range(2)]
    first, second = ([(*observation, info["task"]["gravity"]) for observation, info in three] for three in episodes)
    assert first == second and len(set(first)) == 3


def test_the_initial_state_does_not_tell_the_task() -> None:
    env = pendulum().make_env()
    resets = [env.reset(seed=seed) for seed in range(150)]
    angles = [np.arctan2(observation[1], observation[0]) for observation, _ in resets]
    assert abs(np.corrcoef(angles, [info["task"]["gravity"] for _, info in resets])[0, 1]) < 0.35


def test_fields_with_choices() -> None:
    fields = (TaskField("way", -1, 1, choices=(-1.0, 1.0)), TaskField("mass", 2, 3))
    tasks = sample_fields(fields, 200, np.random.default_rng(0))
    assert tasks.shape == (200, 2) and set(tasks[:, 0]) == {-1.0, 1.0}
    assert tasks[:, 1].min() >= 2 and tasks[:, 1].max() <= 3 and tasks[:, 1].std() > 0.2


def test_it_can_be_trained_on_and_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mine", SimpleNamespace(pendulum=pendulum))
    family = get_family("mine:pendulum")
    controller = metarl.train(
        family, iterations=1, meta_batch_size=2, episodes_per_task=2, hidden_sizes=(4,), threads=2
    )
    returns = metarl.evaluate(controller, tasks=2, family=family).intervals()
    assert len(returns) == 2 and all(np.isfinite(interval.mean) for interval in returns)
