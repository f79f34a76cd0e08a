"""``metarl train images`` from the command line to the run folder."""

from pathlib import Path

import pytest
from coloured_images import write_images

from metarl.experiments.analysis.plots import LEARNING_CURVE
from metarl.experiments.cli import main
from metarl.images.run import read_image_config
from metarl.policies.loading import load_classifier
from metarl.runs.folder import CONTROLLER

SMALL = [
    *("--ways", "3", "--queries", "2", "--side", "16", "--inner-steps", "1"),
    *("--epochs", "1", "--tasks-per-epoch", "4", "--meta-batch-size", "2", "--validation-tasks", "2"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"), classes=4)


def test_trains_and_says_where_everything_is(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main(["train", "images", "--data", str(data), "--method", "anil", *SMALL, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "best in epoch 1: accuracy" in printed and CONTROLLER in printed
    assert (out / LEARNING_CURVE).stat().st_size > 5000
    assert load_classifier(out / CONTROLLER).metadata.method == "anil"
    assert read_image_config(out).data.is_absolute()
    before = (out / CONTROLLER).read_bytes()
    assert main(["train", "--resume", str(out)]) == 0
    assert (out / CONTROLLER).read_bytes() == before


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--ways", "5"], "too few for 5 ways"),
        (["--shots", "9"], "9-shot episodes need at least 10"),
        (["--shots", "0"], "setting 'shots' must be at least 1"),
        (["--backbone", "vgg"], "setting 'backbone' must be one of conv4, resnet12, got 'vgg'"),
        (["--method", "sgd"], "unknown method 'sgd'"),
        (["--data", "nowhere"], "there is no folder"),
    ],
)
def test_bad_input(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    options = ["--data", str(data), *SMALL, *words, "--out", str(tmp_path / "run")]
    assert main(["train", "images", *options]) == 2
    error = capsys.readouterr().err
    assert sentence in error and "Traceback" not in error
    assert not (tmp_path / "run").exists()


def test_data_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "images"]) == 2
    assert "--data" in capsys.readouterr().err
