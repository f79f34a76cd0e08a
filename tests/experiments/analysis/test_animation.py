"""Files of animations: they run in real time and show the pictures that they were given."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metarl.core.errors import Refusal
from metarl.experiments.analysis import animation
from metarl.experiments.analysis.animation import STRIP, animation_limits, ffmpeg, side_by_side, write_animation
from metarl.experiments.analysis.rendering import Film

ORANGE = (213, 94, 0)


def film(count: int, frames_per_second: float = 10.0, side: int = 20) -> Film:
    """A film of an orange bar that moves to the right."""
    frames = [np.zeros((side, side, 3), np.uint8) for _ in range(count)]
    for index, frame in enumerate(frames):
        frame[:, index * side // count : (index + 1) * side // count] = ORANGE
    return Film(frames, frames_per_second, [1.0] * count)


@pytest.mark.parametrize(("count", "frames_per_second"), [(20, 20), (100, 20), (50, 10), (30, 50)])
def test_a_gif_runs_in_real_time(tmp_path: Path, count: int, frames_per_second: int) -> None:
    write_animation(film(count, frames_per_second, side=2 * count), tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as picture:
        assert picture.size == (2 * count, 2 * count) and picture.n_frames == count
        milliseconds = 0
        for index in range(picture.n_frames):
            picture.seek(index)
            milliseconds += picture.info["duration"]
    assert milliseconds == pytest.approx(1000 * count / frames_per_second, rel=0.05)


def test_colors_survive_in_a_gif(tmp_path: Path) -> None:
    made = film(4)
    write_animation(made, tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as picture:
        for index, frame in enumerate(made.frames):
            picture.seek(index)
            shown = np.asarray(picture.convert("RGB")).astype(int)
            assert np.abs(shown - frame).max() <= 8


def test_an_mp4_shows_the_pictures_padded_to_even_sides(tmp_path: Path) -> None:
    made = film(5, 25.0, side=45)
    write_animation(made, tmp_path / "a.mp4")
    words = [ffmpeg(), "-v", "error", "-i", str(tmp_path / "a.mp4"), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    pixels = np.frombuffer(subprocess.run(words, capture_output=True, check=True).stdout, np.uint8)
    shown = pixels.reshape(5, 46, 46, 3)[:, :45, :45].astype(int)
    assert np.abs(shown - np.array(made.frames)).mean() < 12


def test_films_side_by_side_with_captions() -> None:
    short, long = film(2), film(3)
    both = side_by_side([short, long], ["before", "after"])
    assert len(both.frames) == 3 and both.frames[0].shape == (20 + STRIP, 40, 3)
    for index, frame in enumerate(both.frames):
        np.testing.assert_array_equal(frame[STRIP:, :20], short.frames[min(index, 1)])
        np.testing.assert_array_equal(frame[STRIP:, 20:], long.frames[index])
    assert len(np.unique(both.frames[0][:STRIP].reshape(-1, 3), axis=0)) > 1


def test_other_formats_and_a_missing_ffmpeg_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refusal, match=r"must end in \.gif or \.mp4, got a\.avi"):
        animation_limits(Path("a.avi"))
    monkeypatch.setattr(animation, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Refusal, match=r"needs ffmpeg.*metarl-adapt\[video\].*\.gif"):
        animation_limits(Path("a.mp4"))
    assert animation_limits(Path("A.GIF")) == (100, 50)


def test_an_error_of_ffmpeg_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(animation, "ffmpeg", lambda: "false")
    with pytest.raises(Refusal, match="ffmpeg failed"):
        write_animation(film(2), tmp_path / "a.mp4")
    assert list(tmp_path.iterdir()) == []
