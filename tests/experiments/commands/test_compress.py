"""``metarl compress``: what it prints, writes and refuses."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from integer_problems import integer_controller

from metarl.core.errors import Refusal
from metarl.experiments.commands.compress import main
from metarl.policies.loading import load_controller
from metarl.policies.networks.integers import IntegerMLP
from metarl.rl.variation import varied


@pytest.fixture
def short(tmp_path: Path) -> str:
    path = tmp_path / "short.safetensors"
    varied(load_controller("navigation-2d/maml"), horizon=10, episodes=2).save(path)
    return str(path)


def test_prune_prints_each_round_and_ends_with_the_judge(short: str, tmp_path: Path, capsys) -> None:
    out, verdict = tmp_path / "pruned", tmp_path / "verdict.json"
    words = [short, "--sparsity", "0.6", "--rounds", "2", "--iterations", "0", "--criterion", "magnitude"]
    main(["prune", *words, "--out", str(out), "--judge-tasks", "3", "--threads", "1", "--json", str(verdict)])
    printed = capsys.readouterr().out
    assert "round 1 of 2: sparsity 0.3" in printed
    assert "round 2 of 2: sparsity 0.6" in printed
    assert "paired difference of the returns after adaptation" in printed
    assert "(95 %, 3 tasks)" in printed
    record = json.loads(verdict.read_text())
    assert record["macs"] == {"before": 10_400, "after": 4_160}
    assert record["file_bytes"]["after"] == (out / "controller.safetensors").stat().st_size
    assert record["adaptation_bytes"]["after"] < record["adaptation_bytes"]["before"]

    main(["judge", short, str(out / "controller.safetensors"), "--judge-tasks", "3", "--threads", "1"])
    printed = capsys.readouterr().out
    assert f"{record['paired_difference']:.2f}" in printed


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--sparsity", "1"], "'sparsity' must be below 1"),
        (["--judge-tasks", "1"], "judge-tasks must be at least 2"),
        (["--threads", "0"], "threads must be at least 1"),
    ],
)
def test_impossible_options_are_refused_before_anything_is_written(
    short: str, tmp_path: Path, words: list[str], sentence: str
) -> None:
    with pytest.raises(Refusal, match=sentence):
        main(["prune", short, "--out", str(tmp_path / "pruned"), *words])
    assert not (tmp_path / "pruned").exists()


def test_controllers_of_two_families_are_not_compared() -> None:
    with pytest.raises(Refusal, match="of different families"):
        main(["judge", "navigation-2d/maml", "half-cheetah-velocity/maml"])


def test_without_a_kind_the_help_names_them(capsys) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    printed = capsys.readouterr().out
    assert "prune:" in printed
    assert "judge:" in printed


def test_int8_writes_a_controller_that_evaluates_adapts_and_is_judged(short: str, tmp_path: Path, capsys) -> None:
    out, verdict = tmp_path / "int8.safetensors", tmp_path / "verdict.json"
    words = ["--tasks", "2", "--judge-tasks", "3", "--threads", "1", "--gradient-bits", "16"]
    main(["int8", short, "--out", str(out), *words, "--json", str(verdict)])
    assert "paired difference of the returns after adaptation" in capsys.readouterr().out
    record = json.loads(verdict.read_text())
    assert record["file_bytes"]["after"] == out.stat().st_size < record["file_bytes"]["before"] / 3
    assert record["adaptation_bytes"]["after"] < record["adaptation_bytes"]["before"] / 2
    assert record["settings"]["gradient_bits"] == 16
    assert isinstance(load_controller(out).network, IntegerMLP)


@pytest.mark.parametrize("bits", ["0", "7", "32"])
def test_gradients_of_other_bits_are_refused(short: str, tmp_path: Path, bits: str) -> None:
    with pytest.raises(Refusal, match="8 or 16"):
        main(["int8", short, "--out", str(tmp_path / "out"), "--gradient-bits", bits])
    assert not (tmp_path / "out").exists()


def test_int8_refuses_what_integers_cannot_hold(tmp_path: Path) -> None:
    """Each in a sentence, with nothing written; the controller's file stays as it is."""
    source = tmp_path / "integers.safetensors"
    integer_controller().save(source)
    before, plain = source.read_bytes(), load_controller("navigation-2d/maml")
    adapted = replace(plain, metadata=replace(plain.metadata, adapted_to={}))
    adapted.save(tmp_path / "adapted.safetensors")
    weight = plain.parameters["layer1.weight"]
    kept = torch.ones_like(weight)
    pruned = replace(plain, parameters=plain.parameters | {"layer1.weight.mask": kept})
    pruned.save(tmp_path / "pruned.safetensors")
    for name, sentence in (
        ("integers", r"compressed already \(int8\)"),
        ("pruned", r"compressed already \(pruned\)"),
        ("adapted", "adapted to a task"),
    ):
        with pytest.raises(Refusal, match=sentence):
            main(["int8", str(tmp_path / f"{name}.safetensors"), "--out", str(tmp_path / "out")])
    with pytest.raises(Refusal, match="exists already"):
        main(["int8", "navigation-2d/maml", "--out", str(source)])
    assert source.read_bytes() == before
    assert not (tmp_path / "out").exists()
