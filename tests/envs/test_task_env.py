"""The single environments: the contracts of Gymnasium and Stable-Baselines3, tasks, and the simulator's numbers."""

import warnings
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from PIL import ImageColor
from stable_baselines3.common.env_checker import check_env as check_for_stable_baselines

from metarl.envs import drawing
from metarl.envs.family import TaskField
from metarl.envs.from_gymnasium import task_family
from metarl.envs.mujoco import camera
from metarl.envs.registry import FAMILIES, get_family
from metarl.rl.training import with_horizon

STEPS_PER_SECOND = {"hopper": 125, "walker2d": 125, "humanoid": 200 / 3, "swimmer": 25, "cartpole": 25}


@pytest.mark.parametrize("name", FAMILIES)
def test_the_checkers_have_nothing_to_say(name: str) -> None:
    env = get_family(name).make_env(render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # What a policy observes has no bounds; the limits of actions belong to the point and to Gymnasium's robots.
        warnings.filterwarnings("ignore", message=".*A Box observation space (min|max)imum value is.*infinity")
        warnings.filterwarnings("ignore", message="We recommend you to use a symmetric and normalized Box action space")
        warnings.filterwarnings("ignore", message=".*For Box action spaces, we recommend using a symmetric and normali")
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
    for task, episode in np.ndindex(2, 2):
        named = family.task_dict(tasks[task])
        observation, info = env.reset(seed=int(seeds[task, episode]), options={"task": named})
        assert info["task"] == named
        np.testing.assert_array_equal(observation, batched[0][task, episode])
        for time, action in enumerate(actions[:, task, episode]):
            observation, reward, terminated, truncated, info = env.step(action)
            np.testing.assert_array_equal(observation, batched[time + 1][task, episode])
            assert (reward, terminated, truncated) == (rewards[time][task, episode], False, False)
            assert info["task"] == named
    env.close()
    simulator.close()


def test_an_episode_ends_at_the_horizon() -> None:
    env = gymnasium.make("metarl/HalfCheetahVelocity-v0")
    env.reset(seed=0)
    ends = [env.step(env.action_space.sample())[2:4] for _ in range(200)]
    assert ends[-1] == (False, True) and not any(any(end) for end in ends[:-1])
    env.close()


@pytest.mark.parametrize("horizon", [3, 300])
def test_an_episode_ends_at_a_controllers_horizon(horizon: int) -> None:
    own = task_family(
        "own", lambda **kwargs: gymnasium.make("Pendulum-v1", **kwargs), (TaskField("x", 0, 1),), 200, lambda *_: None
    )
    # Pendulum-v1 ends by itself after 200 steps.
    for family, steps in ((get_family("navigation-2d"), horizon), (own, min(horizon, 200))):
        env = with_horizon(with_horizon(family, 250), horizon).make_env()
        env.reset(seed=0)
        ends = [env.step(env.action_space.high)[3] for _ in range(steps)]
        assert ends[-1] and not any(ends[:-1])
        env.close()


def test_tasks_are_drawn_by_the_seed_when_none_is_given() -> None:
    env = get_family("half-cheetah-direction").make_env()
    drawn = {env.reset(seed=seed)[1]["task"]["direction"] for seed in range(12)}
    assert drawn == {-1.0, 1.0}
    assert env.reset(seed=7)[1] == env.reset(seed=7)[1]
    env.close()


@pytest.mark.parametrize("name", ["half-cheetah-velocity", "half-cheetah-direction"])
def test_the_initial_state_does_not_tell_the_task(name: str) -> None:
    """Both are drawn by the seed, and must not be drawn from the same random numbers."""
    env = get_family(name).make_env()
    starts, tasks = [], []
    for seed in range(150):
        observation, info = env.reset(seed=seed)
        starts.append(observation[:18])
        tasks.append(next(iter(info["task"].values())))
    env.close()
    correlations = np.corrcoef(np.column_stack([tasks, starts]), rowvar=False)[0, 1:]
    assert np.abs(correlations).max() < 0.35


def test_a_seed_fixes_the_episodes_after_it() -> None:
    env = gymnasium.make("metarl/HalfCheetahVelocity-v0")

    def three_episodes() -> list[tuple[float, ...]]:
        resets = [env.reset(seed=9), env.reset(), env.reset()]
        return [(*observation, *info["task"].values()) for observation, info in resets]

    first = three_episodes()
    assert first == three_episodes()
    assert len(set(first)) == 3
    env.close()


@pytest.mark.parametrize(
    ("name", "task"), [("navigation-2d", [0.25, -0.5]), ("half-cheetah-velocity", np.array([1.25]))]
)
def test_a_task_as_an_array(name: str, task: object) -> None:
    env = get_family(name).make_env()
    info = env.reset(options={"task": task})[1]
    assert list(info["task"].values()) == list(task)
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
        ("navigation-2d", [0.1], r"the shape \(2,\) for goal_x, goal_y, got the shape \(1,\)"),
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
    assert first.shape == ((320, 320, 3) if name == "navigation-2d" else (240, 480, 3))
    assert env.metadata["render_fps"] == pytest.approx(STEPS_PER_SECOND.get(name.partition("-")[0], 20))
    for _ in range(10):
        env.step(env.action_space.high)
    second = env.render()
    assert first.dtype == np.uint8
    assert len(np.unique(first.reshape(-1, 3), axis=0)) > 10
    assert (first != second).mean() > 0.001
    env.close()


def colours(picture: np.ndarray, colour: str) -> np.ndarray:
    """Where a picture has the colour: the mean column, and how many pixels."""
    columns = np.nonzero((picture == ImageColor.getrgb(colour)).all(axis=-1))[1]
    return np.array([columns.mean() if len(columns) else np.nan, len(columns)])


def test_pictures_show_the_goal_and_the_point_where_they_are() -> None:
    env = get_family("navigation-2d").make_env(render_mode="rgb_array")
    env.reset(seed=0, options={"task": {"goal_x": 0.4, "goal_y": 0.0}})
    for _ in range(3):
        env.step(np.array([-0.1, 0.0], np.float32))
    picture = env.render()
    env.close()
    np.testing.assert_allclose(colours(picture, drawing.ACCENT)[0], 160 + 0.4 / 1.4 * 320, atol=2)
    assert colours(picture, drawing.BODY)[0] < 160


def test_the_camera_follows_the_cheetah_over_the_ground(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "open_renderer", lambda model: None)
    simulator = get_family("half-cheetah-velocity").make_simulator(1)
    simulator.reset(np.array([[1.0]]), np.array([[0]]))
    pictures = []
    for x in (0.0, 0.4, 2.0):
        simulator.batch.qpos[0, 0] = x
        pictures.append(simulator.draw())
    simulator.close()
    torso = [colours(picture, drawing.BODY) for picture in pictures]
    assert all(pixels > 500 for _, pixels in torso)
    np.testing.assert_allclose([column for column, _ in torso], torso[0][0], atol=1)
    assert not np.array_equal(pictures[0][200:], pictures[1][200:])
    # Two tiles on, the ground looks the same, but for the metres written there.
    np.testing.assert_array_equal(pictures[0][192:210], pictures[2][192:210])


def test_unknown_families() -> None:
    with pytest.raises(ValueError, match="unknown task family 'cheetah': choose one of navigation-2d, half-cheetah-ve"):
        get_family("cheetah")
    with pytest.raises(ValueError, match="task family 'nowhere:family' cannot be imported"):
        get_family("nowhere:family")
    for name in ("math:pi", "math:sin", "builtins:print"):
        with pytest.raises(ValueError, match=f"task family '{name}' is neither a TaskFamily nor a function"):
            get_family(name)
    for name in ("", ":family", "module:", ".module:family"):
        with pytest.raises(ValueError, match=f"unknown task family '{name}': choose one of navigation-2d, "):
            get_family(name)


def test_a_family_of_your_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_families.py").write_text(
        "from metarl.envs.registry import get_family\n"
        "def make():\n    return get_family('navigation-2d')\n"
        "made = make()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("my_families:make", "my_families:made"):
        family = get_family(name)
        assert (family.name, family.fields) == (name, get_family("navigation-2d").fields)
    with pytest.raises(ValueError, match="'my_families:other' cannot be imported: .*no attribute 'other'"):
        get_family("my_families:other")
