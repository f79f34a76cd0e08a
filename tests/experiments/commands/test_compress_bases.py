"""``metarl compress bases``: what it prints, writes and refuses."""

import json
from pathlib import Path

import pytest
import torch
from command_line import fails, succeeds

from metarl.api import bases
from metarl.core.errors import Refusal
from metarl.experiments.commands.compress import main
from metarl.policies.compression.bases import coded_names, layer_bits
from metarl.policies.loading import load_controller
from metarl.rl.variation import varied

QUICK = ["--rounds", "1", "--iterations", "1", "--tasks", "2", "--validation-tasks", "2", "--bases-epochs", "1"]
QUICK += ["--final-epochs", "1", "--threads", "1", "--judge-tasks", "3"]


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("short") / "short.safetensors"
    varied(load_controller("navigation-2d/maml"), horizon=10, episodes=2).save(path)
    return str(path)


@pytest.fixture(scope="module")
def coded(short: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("coded") / "coded.safetensors"
    main(["bases", short, "--bits", "1.5", *QUICK, "--json", str(path.with_suffix(".json")), "--out", str(path)])
    return path


def test_it_writes_a_controller_of_few_bits_and_judges_it(coded: Path, short: str) -> None:
    controller = load_controller(coded)
    record = json.loads(coded.with_suffix(".json").read_text())
    assert record["settings"]["bits"] == 1.5
    assert record["layer_bits"] == pytest.approx(layer_bits(controller.parameters))
    assert record["file_bytes"]["after"] == coded.stat().st_size < record["file_bytes"]["before"] / 3
    assert record["adaptation_bytes"]["after"] < record["adaptation_bytes"]["before"]
    weights = {layer.name: layer.weights for layer in controller.network.layers}
    signs = sum(bits * weights[layer] for layer, bits in record["layer_bits"].items())
    assert 1.49 < signs / sum(weights.values()) <= 1.5


def test_the_controller_goes_through_the_other_commands(coded: Path, short: str, tmp_path: Path) -> None:
    assert "coordinates of" in succeeds("inspect", coded)
    assert "On a device" in succeeds("cost", coded, "--measure")
    assert "2 unseen tasks" in succeeds("evaluate", coded, "--tasks", 2)
    adapted = tmp_path / "adapted.safetensors"
    succeeds("adapt", coded, "--task", "goal_x=0.2", "goal_y=0.1", "--out", adapted)
    before, after = load_controller(coded).parameters, load_controller(adapted).parameters
    for name in coded_names(before):
        assert torch.equal(before[f"{name}.codes"], after[f"{name}.codes"])
        assert not torch.equal(before[f"{name}.alphas"], after[f"{name}.alphas"])
    for kind in ("bases", "int8", "prune"):
        assert "binary bases" in fails("compress", kind, coded, "--out", tmp_path / "again")
    assert "binary bases" in fails("export", coded, "--out", tmp_path / "again")
    assert "meta-training" in fails("train", "navigation-2d", "--init", coded, "--out", tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_impossible_targets_are_refused_before_anything_is_written(short: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for words, sentence in (
        (["--bits", "0"], "between 0.1 and 8"),
        (["--bits", "9"], "between 0.1 and 8"),
        (["--bits", "7"], "above the 6 that a group starts with"),
        (["--group", "kernel"], "kernels do not divide layer1"),
        (["--float-layers", "layer9"], "no layer 'layer9'"),
        (["--scheme", "uniform", "--bits", "1.5"], "whole number"),
    ):
        with pytest.raises(Refusal, match=sentence):
            main(["bases", short, "--out", str(out), *words])
    with pytest.raises(Refusal, match="exists already"):
        main(["bases", short, "--out", short])
    assert not out.exists()


def test_from_python_with_the_surrogate_loss(short: str) -> None:
    settings = {"bits": 2.0, "rounds": 1, "iterations": 1, "tasks": 2, "validation_tasks": 2, "bases_epochs": 1}
    found = bases(short, objective="surrogate", final_epochs=1, threads=1, **settings)
    assert coded_names(found.parameters) == ("layer1.weight", "layer2.weight", "layer3.weight")
    with pytest.raises(ValueError, match="unknown setting 'bit'"):
        bases(short, bit=2.0)
