"""Model cards say what is recorded, and say so where nothing is."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import FAMILY, TINY, fails, succeeds

from metarl.experiments.analysis.model_card import training_command
from metarl.experiments.commands.train import parse_train
from metarl.policies.files.pretrained import TRAINED, pretrained_files
from metarl.policies.loading import load_controller
from metarl.rl.settings import read_config

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("card") / "run"
    succeeds("train", FAMILY, "--method", "anil", "--seed", 3, "--first-order", *TINY, "--out", folder)
    return folder


def test_the_command_asks_for_the_same_training(run: Path) -> None:
    _, settings = read_config(run)
    words = shlex.split(training_command(load_controller(run), settings))
    assert words[:3] == ["metarl", "train", FAMILY]
    assert replace(parse_train(words[2:]).settings, threads=settings.threads) == settings


def test_a_run_has_a_card(run: Path, tmp_path: Path) -> None:
    card = succeeds("card", run)
    assert "- seed: 3" in card and "- meta-iterations: 2" in card and "Not evaluated on unseen tasks" in card
    assert "- environment steps: 80" in card  # 2 iterations of 2 tasks, 2 episodes before and 2 after, 5 steps
    assert "for the owner of this controller to say" in card
    succeeds("card", run, "--out", tmp_path / "card.md")
    assert (tmp_path / "card.md").read_text() == card
    assert "exists already" in fails("card", run, "--out", tmp_path / "card.md")


def test_what_is_not_recorded_is_not_invented(run: Path, tmp_path: Path) -> None:
    controller = load_controller(run)
    bare = replace(controller, metadata=replace(controller.metadata, training={}))
    bare.save(tmp_path / "bare.safetensors")
    card = succeeds("card", tmp_path / "bare.safetensors")
    assert "Command: Not recorded." in card and "- seed: Not recorded." in card and "metarl train" not in card


@pytest.mark.parametrize("name", pretrained_files())
def test_the_cards_that_ship_are_up_to_date(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert (TRAINED / f"{name}.md").read_text() == succeeds("card", name)
