"""Image runs in folders: what they leave, that an interrupted one ends with the same bytes, and what is refused."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from coloured_images import small_settings, write_images
from command_line import fails, succeeds
from watching import Steps, Stop, StopAfter

from metarl.core.errors import Refusal
from metarl.images.run import is_image_run, read_image_config, train_images
from metarl.images.settings import ImageSettings, build_network
from metarl.images.start import initial_state, load_data
from metarl.images.training import ImageTraining, best_classifier
from metarl.policies.loading import load_classifier
from metarl.runs.folder import CONTROLLER, PROGRESS
from metarl.runs.recorder import CheckpointSettings

OFTEN = CheckpointSettings(checkpoint_iterations=2)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> ImageSettings:
    return small_settings(write_images(tmp_path_factory.mktemp("images")), method="p-meta")


def start(folder: Path, settings: ImageSettings, stop_after: int = 0) -> None:
    train_images(folder, settings, load_data(settings), OFTEN, [StopAfter(stop_after)])


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in (PROGRESS, CONTROLLER)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, settings: ImageSettings) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    start(folder, settings)
    return folder


def test_a_run_leaves_its_files(whole: Path, settings: ImageSettings) -> None:
    assert is_image_run(whole) and read_image_config(whole) == settings
    with (whole / PROGRESS).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "1", "1", "2", "2", "2"]
    assert [bool(row["validation_accuracy"]) for row in rows] == [False, False, True] * 2
    assert all(0 <= float(row["accuracy_after"]) <= 1 and float(row["loss_after"]) > 0 for row in rows)
    trained = load_classifier(whole / CONTROLLER)
    metadata, training = trained.metadata, trained.metadata.training
    assert trained.network == build_network(settings)
    assert (metadata.method, metadata.inner_steps, metadata.shots, metadata.queries) == ("p-meta", 2, 1, 2)
    best = training["best_epoch"]
    accuracy = float(rows[3 * best - 1]["validation_accuracy"])
    assert accuracy == training["best_validation_accuracy"]
    assert accuracy == max(float(row["validation_accuracy"] or 0) for row in rows)
    alphas = trained.parameters["step_sizes"]
    assert [float(rows[3 * best - 1][f"step_size_norm1_{step}"]) for step in (1, 2)] == alphas[:, 1].tolist()
    assert training["settings"]["data"] == metadata.data == settings.data.name


@pytest.mark.parametrize("iteration", [1, 3, 5])
def test_resumed_to_the_same_bytes(tmp_path: Path, whole: Path, settings: ImageSettings, iteration: int) -> None:
    with pytest.raises(Stop):
        start(tmp_path / "run", settings, stop_after=iteration)
    assert load_classifier(tmp_path / "run" / CONTROLLER).metadata.training["iterations"] == iteration
    train_images(tmp_path / "run", settings, load_data(settings), OFTEN, resume=True)
    assert contents(tmp_path / "run") == contents(whole)


def test_folders_that_are_refused(tmp_path: Path, whole: Path, settings: ImageSettings) -> None:
    before = contents(whole)
    with pytest.raises(ValueError, match="exists already and is not overwritten"):
        start(whole, settings)
    assert contents(whole) == before
    with pytest.raises(ValueError, match="is not the folder of a run"):
        read_image_config(tmp_path)
    content = json.loads((whole / "config.json").read_text())
    content["settings"]["ways"] = 1
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="setting 'ways' must be at least 2, got 1"):
        read_image_config(tmp_path)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"side": 100_000}, "the parameters of the network would take 15 GB"),
        ({"side": 5000, "backbone": "resnet12"}, "the activations of one image would take"),
        ({"backbone": "vgg"}, "setting 'backbone' must be one of conv4, resnet12, got 'vgg'"),
        ({"norm": "layer"}, "setting 'norm' must be 'group' or 'batch'"),
        ({"backbone": "resnet12", "pooling": "average"}, "setting 'pooling' must be 'max' for resnet12"),
        ({"method": "mamml"}, "unknown method 'mamml'"),
        ({"ways": 1}, "setting 'ways' must be at least 2"),
        ({"shots": 0}, "setting 'shots' must be at least 1"),
        ({"side": 15}, "setting 'side' must be at least 16"),
        ({"meta_batch_size": 0}, "setting 'meta_batch_size' must be at least 1"),
        ({"meta_batch_size": 4}, "setting 'tasks_per_epoch' must be a multiple of the meta-batch size, 4, got 6"),
        ({"learning_rate": float("nan")}, "setting 'learning_rate' must be a finite number"),
        ({"lasso": -1.0}, "setting 'lasso' must be at least 0"),
        ({"seed": -1}, "setting 'seed' must be at least 0"),
    ],
)
def test_settings_that_are_impossible(overrides: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        small_settings(Path(), **overrides)


def test_the_meta_batch_size_of_the_paper() -> None:
    assert ImageSettings(Path()).tasks_per_iteration == ImageSettings(Path(), shots=5).tasks_per_iteration == 4
    assert ImageSettings(Path(), backbone="resnet12").tasks_per_iteration == 4
    assert ImageSettings(Path(), backbone="resnet12", shots=5).tasks_per_iteration == 2
    assert ImageSettings(Path()).iterations == 25_000


def test_before_the_first_epoch_there_is_the_untrained_classifier(tmp_path: Path, settings: ImageSettings) -> None:
    network = build_network(settings)
    state = initial_state(network, settings)
    best_classifier(network, settings, state).save(tmp_path / CONTROLLER)
    loaded = load_classifier(tmp_path / CONTROLLER)
    assert loaded.metadata.training["best_validation_accuracy"] is None
    assert loaded.parameters.keys() == state.parameters.keys()
    assert all(torch.equal(loaded.parameters[name], tensor) for name, tensor in state.parameters.items())


def test_images_that_have_moved(tmp_path: Path, whole: Path, settings: ImageSettings) -> None:
    """The command line goes on with them; those of other classes are refused, and the run stays as it is."""
    with pytest.raises(Stop):
        start(tmp_path / "run", settings, stop_after=4)
    moved = settings.data.rename(tmp_path / "moved")
    try:
        assert "there is no folder" in fails("train", "--resume", tmp_path / "run")
        before = contents(tmp_path / "run")
        other = write_images(tmp_path / "other", classes=7)
        refused = fails("train", "--resume", tmp_path / "run", "--data", other)
        assert "was begun on another images: train classes was" in refused
        assert "is for policies" in fails("train", "--resume", tmp_path / "run", "--iterations", 9)
        assert contents(tmp_path / "run") == before
        succeeds("train", "--resume", tmp_path / "run", "--data", moved)
    finally:
        moved.rename(settings.data)
    assert (tmp_path / "run" / PROGRESS).read_bytes() == (whole / PROGRESS).read_bytes()
    trained, expected = (load_classifier(folder) for folder in (tmp_path / "run", whole))
    assert all(torch.equal(trained.parameters[name], tensor) for name, tensor in expected.parameters.items())
    assert read_image_config(tmp_path / "run").data == moved


def test_a_training_starts_from_a_classifier(tmp_path: Path, whole: Path, settings: ImageSettings) -> None:
    data, init = load_data(settings), load_classifier(whole)
    state = ImageTraining(settings, data, init).initial_state()
    assert all(torch.equal(state.parameters[name], tensor) for name, tensor in init.parameters.items())
    steps = Steps()
    trained = train_images(None, replace(settings, epochs=1), data, callbacks=[steps], init=init)
    assert trained.parameters.keys() == init.parameters.keys() and len(steps) == 3
    for change, sentence in (
        ({"ways": 2}, "has the network Conv4"),
        ({"inner_steps": 3}, "has the inner steps 2, and the settings ask for 3"),
        ({"method": "maml"}, "was trained by p-meta, and the settings ask for maml: 'attention"),
    ):
        other = replace(settings, **change)
        with pytest.raises(Refusal, match=sentence):
            train_images(tmp_path / "run", other, load_data(other), init=init)
    assert not (tmp_path / "run").exists()
