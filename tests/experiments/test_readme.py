"""The README says what is there."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import TINY, succeeds
from PIL import Image

import metarl
from metarl.envs.registry import FAMILIES
from metarl.experiments.cli import COMMANDS
from metarl.policies.methods import METHODS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
FAMILY_TABLE = (ROOT / "docs" / "families.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_every_method_family_and_command_is_in_it() -> None:
    for method in METHODS.values():
        assert re.search(rf"^\| `{re.escape(method.name)}` \|.*\| {re.escape(method.source)} \|$", README, re.MULTILINE)
    assert all(f"`{family}`" in FAMILY_TABLE for family in FAMILIES)
    assert all(f"metarl {command}" in README or f"make {command}" in README for command in COMMANDS)


def test_its_options_exist() -> None:
    for line in "".join(blocks("bash")).splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["metarl"] and "--resume" not in words:
            command = words[1:3] if words[1:3] in (["train", "images"], ["table", "images"]) else words[1:2]
            described = succeeds(*command, "--help")
            assert all(word in described for word in words if word.startswith("--")), line


def test_its_pictures_are_there() -> None:
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert pictures
    for name in pictures:
        with Image.open(ROOT / name) as picture:
            assert 600 <= picture.width <= 1200
        assert (ROOT / name).stat().st_size < 500_000


def test_its_example_of_an_environment_of_ones_own_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = next(block for block in blocks("python") if "task_family(" in block)
    (tmp_path / "mine.py").write_text(example)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    succeeds("train", "mine:pendulum", "--action-scale", 2, *TINY, "--out", "run")
    succeeds("evaluate", "run/controller.safetensors", "--tasks", 2, "--family", "mine:pendulum")


def test_its_python_example_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = next(block for block in blocks("python") if "metarl.train(" in block)
    small = example.replace("iterations=60", "iterations=1, meta_batch_size=2, episodes_per_task=2, horizon=5")
    assert small != example
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(small, names)
    assert names["action"].shape == (2,)


def test_its_classifier_adapts_to_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = next(block for block in blocks("python") if "metarl.load_classifier(" in block)
    monkeypatch.chdir(tmp_path)
    train = re.search(r"^metarl train images .*--out (\S+)$", README, re.MULTILINE)
    assert train
    tiny = ("--ways", 3, "--side", 16, "--queries", 2, "--epochs", 1, "--tasks-per-epoch", 4, "--validation-tasks", 1)
    succeeds("train", "images", "--data", ROOT / "tests/fixtures/emoji", *tiny, "--out", train[1])
    generator = np.random.default_rng(0)
    photos, new_photos = (generator.integers(256, size=(count, 16, 16, 3), dtype=np.uint8) for count in (3, 5))
    names: dict[str, object] = {
        "metarl": metarl,
        "photos": photos,
        "new_photos": new_photos,
        "their_labels": np.arange(3),
    }
    exec(example, names)
    assert names["labels"].shape == (5,)


def test_its_robot_loop_works() -> None:
    example = next(block for block in blocks("python") if "metarl.Recorder(" in block)
    short = example.replace("range(20)", "range(2)")
    assert short != example
    names: dict[str, object] = {}
    exec(short, names)
    assert names["action"].shape == (6,)
    before, after = names["controller"].parameters, names["adapted"].parameters
    assert any(not torch.equal(after[name], tensor) for name, tensor in before.items())
