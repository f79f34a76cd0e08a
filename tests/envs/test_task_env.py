"""The single environments: Gymnasium's and Stable-Baselines3's contracts, tasks, the batched simulator's numbers."""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_for_stable_baselines

from metarl.envs.registry import FAMILIES, get_family


@pytest.mark.parametrize("name", FAMILIES)
def test_the_checkers_have_nothing_to_say(name: str) -> None:
    env = get_family(name).make_env(render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # What a policy observes has no bounds, and a speed limit of 0.1 is part of the navigation task.
        warnings.filterwarnings("ignore", message=".*A Box observation space (min|max)imum value is.*infinity")
        warnings.filterwarnings("ignore", message="We recommend you to use a symmetric and normalized Box action space")
        check_env(env.unwrapped)
        check_for_stable_baselines(env)
    env.close()


@pytest.mark.parametrize("name", FAMILIES)
def test_same_seed_and_task_as_in_the_batched_simulator(name: str) -> None:
    family = get_family(name)
    env, simulator = family.make_env(), family.make_simulator(2)
    random = np.random.default_rng(0)
    tasks = family.sample_tasks(2, random)
    seeds = np.array([[3, 4], [5, 6]])
    batched = [simulator.reset(tasks, seeds)]
    actions = random.uniform(-0.1, 0.1, (5, 2, 2, *family.action_space.shape)).astype(np.float32)
    rewards = []
    for action in actions:
        transition = simulator.step(action.astype(np.float64))
        batched.append(transition.observations)
        rewards.append(transition.rewards)
    observation, info = env.reset(seed=6, options={"task": family.task_dict(tasks[1])})
    assert info["task"] == family.task_dict(tasks[1])
    np.testing.assert_array_equal(observation, batched[0][1, 1])
    for time, action in enumerate(actions[:, 1, 1]):
        observation, reward, terminated, truncated, info = env.step(action)
        np.testing.assert_array_equal(observation, batched[time + 1][1, 1])
        assert (reward, terminated, truncated) == (rewards[time][1, 1], False, False)
        assert info["task"] == family.task_dict(tasks[1])
    env.close()
    simulator.close()


def test_an_episode_ends_at_the_horizon() -> None:
    env = gymnasium.make("metarl/HalfCheetahVelocity-v0")
    env.reset(seed=0)
    ends = [env.step(env.action_space.sample())[2:4] for _ in range(200)]
    assert ends[-1] == (False, True) and not any(any(end) for end in ends[:-1])
    env.close()


def test_tasks_are_drawn_by_the_seed_when_none_is_given() -> None:
    env = get_family("half-cheetah-direction").make_env()
    drawn = {env.reset(seed=seed)[1]["task"]["direction"] for seed in range(12)}
    assert drawn == {-1.0, 1.0}
    assert env.reset(seed=7)[1] == env.reset(seed=7)[1]
    env.close()


@pytest.mark.parametrize(
    ("name", "task", "sentence"),
    [
        ("half-cheetah-velocity", {"speed": 1}, "unknown task field 'speed'.*has the fields target_velocity"),
        ("half-cheetah-velocity", {}, "task field 'target_velocity' is missing"),
        ("half-cheetah-velocity", {"target_velocity": 2.1}, r"must lie in \[0, 2\], got 2.1"),
        ("half-cheetah-velocity", {"target_velocity": float("nan")}, r"must lie in \[0, 2\], got nan"),
        ("half-cheetah-velocity", {"target_velocity": "fast"}, "must be a number, got 'fast'"),
        ("half-cheetah-direction", {"direction": 0.5}, "must be one of -1, 1, got 0.5"),
        ("navigation-2d", [0.1], "has 2 values"),
        ("navigation-2d", [0.1, 0.6], r"'goal_y' of navigation-2d must lie in \[-0.5, 0.5\], got 0.6"),
    ],
)
def test_impossible_tasks(name: str, task: object, sentence: str) -> None:
    env = get_family(name).make_env()
    with pytest.raises(ValueError, match=sentence):
        env.reset(options={"task": task})
    env.close()


@pytest.mark.parametrize("name", FAMILIES)
def test_pictures_change_as_the_episode_goes_on(name: str) -> None:
    env = get_family(name).make_env(render_mode="rgb_array")
    env.reset(seed=0)
    first = env.render()
    for _ in range(10):
        env.step(env.action_space.high)
    second = env.render()
    assert first.dtype == np.uint8 and first.ndim == 3 and first.shape[2] == 3
    assert len(np.unique(first.reshape(-1, 3), axis=0)) > 10
    assert (first != second).mean() > 0.001
    env.close()


def test_unknown_families() -> None:
    with pytest.raises(ValueError, match="unknown task family 'cheetah': choose one of navigation-2d, half-cheetah-ve"):
        get_family("cheetah")
    with pytest.raises(ValueError, match="task family 'nowhere:family' cannot be imported"):
        get_family("nowhere:family")
    with pytest.raises(ValueError, match="neither a TaskFamily nor a function"):
        get_family("math:pi")
