"""The pictures show the numbers that they were given."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metarl.experiments.analysis import plots

PROGRESS = {
    "iteration": np.array([1.0, 2.0, 3.0]),
    "return_0": np.array([-9.0, -8.0, -7.0]),
    "return_0_ci95": np.array([1.0, 1.0, 1.0]),
    "return_1": np.array([-8.0, -5.0, -3.0]),
    "return_1_ci95": np.array([0.5, 0.5, np.nan]),
    "return_2": np.array([-7.0, -4.0, -2.0]),
    "return_2_ci95": np.array([0.5, 0.25, np.nan]),
    "kl": np.array([0.01, 0.008, 0.0]),
}


def test_learning_curve_shows_the_first_and_the_last_return_and_the_divergence() -> None:
    returns, divergence = plots.learning_curve(PROGRESS, "title", max_kl=0.01).axes
    before, after = returns.lines
    np.testing.assert_array_equal(before.get_ydata(), PROGRESS["return_0"])
    np.testing.assert_array_equal(after.get_ydata(), PROGRESS["return_2"])
    assert [text.get_text() for text in returns.get_legend().get_texts()] == [
        "before adaptation",
        "after 2 inner steps",
    ]
    band = returns.collections[1].get_paths()[0].vertices
    assert {tuple(vertex) for vertex in band.round(6)} >= {(1.0, -7.5), (1.0, -6.5), (2.0, -4.25), (2.0, -3.75)}
    assert all(axes.get_xlabel() or axes.get_ylabel() for axes in (returns, divergence))
    np.testing.assert_array_equal(divergence.lines[0].get_ydata(), PROGRESS["kl"])
    assert list(divergence.lines[1].get_ydata()) == [0.01, 0.01]


def test_a_run_without_a_finite_number_has_a_plot(recwarn: pytest.WarningsRecorder) -> None:
    progress = {name: np.full_like(values, np.nan) for name, values in PROGRESS.items()}
    plots.learning_curve(progress | {"iteration": PROGRESS["iteration"]}, "title", max_kl=0.01)
    assert not list(recwarn)


def test_a_single_iteration_is_visible() -> None:
    progress = {name: values[:1] for name, values in PROGRESS.items()}
    returns = plots.learning_curve(progress, "title", max_kl=0.01).axes[0]
    assert all(line.get_markevery() == [0] and line.get_marker() == "o" for line in returns.lines)


def test_image_learning_curve_shows_the_validation_and_the_mean_of_each_epoch() -> None:
    nan = np.nan
    progress = {
        "epoch": np.array([1.0, 1, 2, 2, 3]),
        "accuracy_after": np.array([0.2, 0.4, 0.5, nan, nan]),
        "validation_accuracy": np.array([nan, 0.25, nan, 0.45, nan]),
        "validation_accuracy_ci95": np.array([nan, 0.05, nan, 0.1, nan]),
    }
    (axes,) = plots.image_learning_curve(progress, "title").axes
    training, validation = axes.lines
    np.testing.assert_allclose(training.get_xydata(), [[1, 30], [2, 50]])
    np.testing.assert_allclose(validation.get_xydata(), [[1, 25], [2, 45]])
    band = axes.collections[0].get_paths()[0].vertices
    assert {tuple(vertex) for vertex in band.round(6)} >= {(1.0, 20.0), (1.0, 30.0), (2.0, 35.0), (2.0, 55.0)}
    first = {name: values[:1] for name, values in progress.items()}
    assert plots.image_learning_curve(first, "title").axes[0].lines[0].get_markevery() == [0]


def test_trajectories_show_every_path_and_goal(tmp_path: Path) -> None:
    goals = np.array([[0.3, 0.1], [-0.2, -0.4]])
    before = (np.zeros((2, 2)), np.ones((3, 2)) * 0.1)
    after = [(np.array([[0, 0], goal]), np.array([[0, 0], goal / 2])) for goal in goals]
    figure = plots.trajectories(goals, before, after, limit=0.5)
    for axes, episodes in zip(figure.axes, (before, (*after[0], *after[1])), strict=True):
        drawn = [line.get_xydata().tolist() for line in axes.lines]
        assert all([goal.tolist()] in drawn for goal in goals)
        assert all(episode.tolist() in drawn for episode in episodes)
    plots.write(figure, tmp_path / "picture.png")
    with Image.open(tmp_path / "picture.png") as picture:
        assert picture.width > picture.height > 400


def test_a_picture_replaces_an_older_one(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_text("old")
    plots.write(plots.learning_curve(PROGRESS, "title", max_kl=0.01), path)
    assert Image.open(io.BytesIO(path.read_bytes())).format == "PNG"
