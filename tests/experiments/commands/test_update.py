"""``metarl update``: a patch from a server to a robot, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from metarl.core.errors import Refusal
from metarl.experiments.commands.update import main
from metarl.policies.controller import Controller
from metarl.policies.loading import load_controller
from metarl.rl.variation import varied


@pytest.fixture
def robot(tmp_path: Path) -> Path:
    path = tmp_path / "robot.safetensors"
    varied(load_controller("navigation-2d/maml"), horizon=10, episodes=2).save(path)
    return path


@pytest.fixture
def trained(robot: Path, tmp_path: Path) -> Path:
    """A controller that was trained elsewhere: here, with actions twice as large."""
    path, controller = tmp_path / "trained.safetensors", load_controller(robot)
    weight = controller.parameters["layer3.weight"] * 2
    replace(controller, parameters=controller.parameters | {"layer3.weight": weight}).save(path)
    return path


def make(robot: Path, patch: Path, *more: str) -> None:
    main(["make", "--base", str(robot), "--out", str(patch), "--judge-tasks", "2", "--threads", "1", *more])


def test_a_patch_towards_another_controller_goes_its_way(
    robot: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    patch = tmp_path / "r1.patch"
    make(robot, patch, "--to", str(trained), "--ratio", "0.01", "--no-gate")
    printed = capsys.readouterr().out
    assert "paired difference" in printed and f"{patch.stat().st_size:,} bytes, 104 numbers" in printed
    main(["info", str(patch), "--controller", str(robot)])
    printed = capsys.readouterr().out
    assert "layer3.weight" in printed and "104 (52 %)" in printed
    assert "ratio: 0.01" in printed and "metric: global" in printed and "has not been applied to it yet" in printed
    main(["apply", str(patch), "--controller", str(robot)])
    assert "is updated by" in capsys.readouterr().out
    main(["info", str(patch), "--controller", str(robot)])
    assert "has been applied to this controller" in capsys.readouterr().out
    changed: Controller = load_controller(robot)
    wanted = load_controller(trained).parameters["layer3.weight"]
    assert int((changed.parameters["layer3.weight"] == wanted).sum()) == 104
    with pytest.raises(Refusal, match="applied to this controller already"):
        main(["apply", str(patch), "--controller", str(robot)])


def test_what_is_not_better_is_not_sent(robot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    patch = tmp_path / "r1.patch"
    told = tmp_path / "told.json"
    make(robot, patch, "--to", str(robot), "--json", str(told))
    assert "no patch: the update is not better" in capsys.readouterr().out and not patch.exists()
    record = json.loads(told.read_text())
    assert record["patch_bytes"] == 0 and record["full_bytes"] == 42_428 and record["paired_difference"] == 0
    assert record["settings"]["ratio"] == 0.05 and record["tasks"] == 2
    with pytest.raises(Refusal, match="exists already"):
        make(robot, patch, "--to", str(robot), "--json", str(told))


@pytest.mark.slow
def test_a_server_trains_and_sends(robot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    patch, before = tmp_path / "r1.patch", load_controller(robot)
    make(robot, patch, "--iterations", "1", "--no-gate", "--ratio", "0.02")
    printed = capsys.readouterr().out
    assert "full update: 1 of 1" in printed and "partial update: 1 of 1" in printed
    main(["apply", str(patch), "--controller", str(robot)])
    after = load_controller(robot)
    weights = [name for name in after.parameters if name.endswith(".weight")]
    assert 0 < sum(int((after.parameters[name] != before.parameters[name]).sum()) for name in weights) <= 208
    assert not torch.equal(after.parameters["layer2.bias"], before.parameters["layer2.bias"])


def test_bad_input_is_told_in_a_sentence_and_nothing_is_lost(robot: Path, trained: Path, tmp_path: Path) -> None:
    patch = tmp_path / "r1.patch"
    make(robot, patch, "--to", str(trained), "--no-gate")
    content, sent = robot.read_bytes(), patch.read_bytes()
    cases = [
        (["apply", str(patch), "--controller", "navigation-2d/maml"], "there is no such file, and a patch is applied"),
        (["apply", str(trained), "--controller", str(robot)], "this is a controller of metarl, and a patch is needed"),
        (["apply", str(tmp_path / "none.patch"), "--controller", str(robot)], "there is no such file"),
        (["info", str(patch), "--controller", "navigation-2d/anil"], "is for a controller with the digest"),
        (["make", "--base", str(robot), "--out", str(patch)], "exists already"),
        (["make", "--base", str(robot), "--out", str(tmp_path / "x"), "--ratio", "2"], "'ratio' must be at most 1"),
        (["make", "--base", str(robot), "--out", str(tmp_path / "x"), "--judge-tasks", "1"], "judge-tasks must be"),
        (["make", "--base", str(robot), "--out", str(tmp_path / "x"), "--threads", "0"], "threads must be"),
    ]
    for words, sentence in cases:
        with pytest.raises(Refusal, match=sentence):
            main(words)
    assert robot.read_bytes() == content and patch.read_bytes() == sent and not (tmp_path / "x").exists()


def test_without_a_kind_the_help_names_them(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    printed = capsys.readouterr().out
    assert "make:" in printed and "apply:" in printed and "info:" in printed
