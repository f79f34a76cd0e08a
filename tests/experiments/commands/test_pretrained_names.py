"""Every command that takes a controller takes the name of one that ships."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import fails, succeeds

from metarl import api
from metarl.policies.files.pretrained import pretrained_files
from metarl.policies.loading import load_controller

NAME = "navigation-2d/maml"
TASK = ("--task", "goal_x=0.3", "goal_y=-0.2")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_evaluate() -> None:
    for number, controller in enumerate((NAME, pretrained_files()[NAME])):
        succeeds("evaluate", controller, "--tasks", 2, "--json", f"{number}.json")
    by_name, by_file = (json.loads(Path(f"{number}.json").read_text()) for number in range(2))
    assert by_name == by_file


def test_adapt_writes_into_the_current_folder(tmp_path: Path) -> None:
    succeeds("adapt", NAME, *TASK)
    (written,) = tmp_path.iterdir()
    assert written.name == "navigation-2d-maml-goal_x=0.3-goal_y=-0.2.safetensors"
    assert load_controller(written).metadata.adapted_to == {"goal_x": 0.3, "goal_y": -0.2}


def test_the_others() -> None:
    succeeds("render", NAME, *TASK, "--out", "episode.gif")
    assert Path("episode.gif").stat().st_size > 1000
    assert "maml" in succeeds("inspect", NAME)
    assert "0.21" in succeeds("cost", NAME)  # MB, Table 3 of the paper
    assert api.loaded(NAME).metadata.family == "navigation-2d"


def test_a_wrong_name() -> None:
    for words in (("evaluate",), ("adapt", *TASK), ("render", *TASK, "--out", "o.gif"), ("inspect",), ("cost",)):
        sentence = fails(words[0], "navigation-2d/mamml", *words[1:])
        assert sentence.startswith("navigation-2d/mamml: ") and all(name in sentence for name in pretrained_files())
