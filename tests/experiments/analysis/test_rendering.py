"""Episodes of a single environment, and films of them."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
import pytest

from metarl.core.errors import Refusal
from metarl.envs.family import TaskFamily, TaskField, sample_fields
from metarl.envs.navigation import NavigationSimulator
from metarl.experiments.analysis import rendering
from metarl.experiments.analysis.rendering import film, play
from metarl.policies.loading import load_controller


class Counter(gymnasium.Env):
    """Counts its steps; terminates after the third where the task says so."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,))
    action_space = gymnasium.spaces.Box(-1, 1, (2,))

    def __init__(self, render_mode: str | None = None, shows: object = "steps") -> None:
        self.render_mode, self.shows = render_mode, shows

    def reset(self, *, seed=None, options=None):
        self.steps, self.task, self.seed = 0, options["task"], seed
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.steps += 1
        self.action = action
        return np.full(2, self.steps, np.float32), float(self.steps), self.steps == self.task["last"], False, {}

    def render(self):
        if isinstance(self.shows, Exception):
            raise self.shows
        if not isinstance(self.shows, str):
            return self.shows
        return np.full((4, 4, 3), self.steps, np.uint8)


def counting_family(horizon: int, **kwargs: object) -> TaskFamily:
    """A family whose environment ends after as many steps as its task says."""
    fields = (TaskField("last", 1, 1000),)
    box = gymnasium.spaces.Box(-1, 1, (2,))
    make_env, sample = partial(Counter, **kwargs), partial(sample_fields, fields)
    return TaskFamily("counting", fields, box, box, horizon, lambda threads: NavigationSimulator(), make_env, sample)


def test_play_shows_what_the_policy_saw_and_stops_at_the_horizon_or_the_end(controller: Path) -> None:
    policy, env = load_controller(controller), Counter("rgb_array")
    moments = list(play(policy, env, {"last": 99.0}, seed=7, horizon=5))
    assert env.seed == 7 and len(moments) == 5
    assert [moment.observation[0] for moment in moments] == [0, 1, 2, 3, 4]
    assert [moment.reward for moment in moments] == [1, 2, 3, 4, 5]
    np.testing.assert_array_equal(env.action, policy.predict(np.full(2, 4.0))[0])
    assert len(list(play(policy, env, {"last": 3.0}, seed=7, horizon=5))) == 3


def test_play_with_noise(controller: Path) -> None:
    policy, env = load_controller(controller), Counter()
    list(play(policy, env, {"last": 1.0}, seed=7, horizon=5, noise=np.random.default_rng(3)))
    expected, _ = policy.predict(np.zeros(2), deterministic=False, generator=np.random.default_rng(3))
    np.testing.assert_array_equal(env.action, expected)


@pytest.mark.parametrize(
    ("horizon", "last", "limits", "shown", "per_second"),
    [
        (5, 99, (), [1, 2, 3, 4, 5], 20),
        (5, 3, (), [1, 2, 3], 20),
        (10, 99, (4, 50), [1, 4, 7, 10], 20 / 3),
        (6, 99, (None, 10), [1, 3, 5], 10),
        (6, 99, (100, 50), [1, 2, 3, 4, 5, 6], 20),
    ],
)
def test_a_film_runs_in_real_time_with_as_many_pictures_as_are_asked_for(
    controller: Path, horizon: int, last: int, limits: tuple, shown: list[int], per_second: float
) -> None:
    made = film(load_controller(controller), counting_family(horizon), {"last": last}, 7, *limits)
    assert [frame[0, 0, 0] for frame in made.frames] == shown
    assert made.frames_per_second == pytest.approx(per_second)
    assert made.rewards == list(range(1, min(horizon, last) + 1))


@pytest.mark.parametrize(
    ("error", "tells", "hints"),
    [
        (mujoco.FatalError("an OpenGL platform library has not been loaded"), "an OpenGL platform library", True),
        (ImportError("Cannot initialize a EGL device display"), "EGL device", True),
        (ImportError("pygame is not installed, run pip install pygame"), "pip install pygame", False),
    ],
)
def test_an_environment_that_cannot_be_rendered_is_a_sentence(
    controller: Path, error: Exception, tells: str, hints: bool
) -> None:
    with pytest.raises(Refusal, match=r"cannot be rendered here") as caught:
        film(load_controller(controller), counting_family(3, shows=error), {"last": 9}, 0)
    assert tells in str(caught.value) and ("MUJOCO_GL=egl" in str(caught.value)) == hints


@pytest.mark.parametrize("shown", [None, np.zeros((4, 4)), np.zeros((4, 4, 3)), [[[0, 0, 0]]]])
def test_what_is_no_picture_is_refused(controller: Path, shown: object) -> None:
    with pytest.raises(Refusal, match=r"its render returns no picture"):
        film(load_controller(controller), counting_family(3, shows=shown), {"last": 9}, 0)


@pytest.mark.parametrize(
    ("variables", "libraries", "chosen"),
    [
        ({}, {"EGL", "OSMesa"}, "egl"),
        ({}, {"OSMesa"}, "osmesa"),
        ({}, set(), None),
        ({"DISPLAY": ":0"}, {"EGL"}, None),
        ({"MUJOCO_GL": "osmesa"}, {"EGL"}, "osmesa"),
    ],
)
def test_opengl_without_a_display(
    variables: dict[str, str], libraries: set[str], chosen: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL"):
        monkeypatch.setenv(name, "")  # restored afterwards, whatever the function sets
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(rendering.sys, "platform", "linux")
    monkeypatch.delitem(sys.modules, "mujoco")
    monkeypatch.setattr(rendering, "find_library", lambda name: name if name in libraries else None)
    rendering.use_opengl_without_display()
    assert os.environ.get("MUJOCO_GL") == chosen
