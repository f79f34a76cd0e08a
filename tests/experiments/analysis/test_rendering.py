"""Episodes of a single environment, and their animations."""

from __future__ import annotations

from pathlib import Path

import gymnasium
import numpy as np
import pytest
from PIL import Image

from metarl.experiments.analysis.rendering import MAX_FRAMES, play, write_gif
from metarl.policies.loading import load_controller


class Counter(gymnasium.Env):
    """Counts its steps; terminates after the third where the task says so."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,))
    action_space = gymnasium.spaces.Box(-1, 1, (2,))

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        self.steps, self.task, self.seed = 0, options["task"], seed
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.steps += 1
        self.action = action
        return np.full(2, self.steps, np.float32), float(self.steps), self.steps == self.task["last"], False, {}

    def render(self):
        return np.full((4, 4, 3), self.steps, np.uint8)


def test_play_shows_what_the_policy_saw_and_stops_at_the_horizon_or_the_end(controller: Path) -> None:
    policy, env = load_controller(controller), Counter("rgb_array")
    moments = list(play(policy, env, {"last": 99.0}, seed=7, horizon=5))
    assert env.seed == 7 and len(moments) == 5
    assert [moment.observation[0] for moment in moments] == [0, 1, 2, 3, 4]
    assert [moment.reward for moment in moments] == [1, 2, 3, 4, 5]
    assert [moment.frame[0, 0, 0] for moment in moments] == [1, 2, 3, 4, 5]
    np.testing.assert_array_equal(env.action, policy.predict(np.full(2, 4.0))[0])
    assert len(list(play(policy, env, {"last": 3.0}, seed=7, horizon=5))) == 3


def test_play_without_pictures_and_with_noise(controller: Path) -> None:
    policy, env = load_controller(controller), Counter()
    moments = list(play(policy, env, {"last": 1.0}, seed=7, horizon=5, noise=np.random.default_rng(3)))
    assert moments[0].frame is None
    expected, _ = policy.predict(np.zeros(2), deterministic=False, generator=np.random.default_rng(3))
    np.testing.assert_array_equal(env.action, expected)


@pytest.mark.parametrize(("count", "frames_per_second"), [(200, 20), (1000, 20), (50, 10), (60, 100), (1, 30)])
def test_an_animation_runs_in_real_time_and_stays_small(tmp_path: Path, count: int, frames_per_second: int) -> None:
    frames = [np.full((40, 60, 3), index % 250, np.uint8) for index in range(count)]
    write_gif(frames, frames_per_second, tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as picture:
        assert picture.size == (60, 40) and 1 <= picture.n_frames <= MAX_FRAMES
        milliseconds = 0
        for index in range(picture.n_frames):
            picture.seek(index)
            milliseconds += picture.info.get("duration", 0)
    expected = 1000 * count / frames_per_second
    assert count == 1 or abs(milliseconds - expected) < 0.05 * expected + 30


def test_colours_survive(tmp_path: Path) -> None:
    frames = [np.zeros((20, 20, 3), np.uint8) for _ in range(3)]
    for index, frame in enumerate(frames):
        frame[:, 5 * index : 5 * index + 5] = (213, 94, 0)
    write_gif(frames, 10, tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as picture:
        for index, frame in enumerate(frames):
            picture.seek(index)
            shown = np.asarray(picture.convert("RGB")).astype(int)
            assert np.abs(shown - frame).max() <= 8
