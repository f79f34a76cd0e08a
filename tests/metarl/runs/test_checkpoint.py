"""Checkpoints: everything comes back bit for bit, two are kept, and only whole ones of the same training are used."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from metarl.core.errors import Refusal
from metarl.runs import checkpoint as checkpoints
from metarl.runs.checkpoint import (
    Checkpoint,
    DamagedCheckpoint,
    checkpoint_files,
    newest_checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from metarl.runs.state import TrainingState

RANDOM = torch.Generator().manual_seed(0)
STATE = TrainingState(
    iteration=7,
    parameters={"layer1.weight": torch.randn(3, 2, generator=RANDOM), "layer1.bias": torch.tensor([1e-30, -0.0, 3.0])},
    moments={"first/attention.layer1.forward.fc1.bias": torch.randn(2, generator=RANDOM), "count": torch.tensor(5.0)},
    best_parameters={"layer1.weight": torch.randn(3, 2, generator=RANDOM)},
    best_score=-12.345678901234567,
    best_iteration=4,
    skipped=2,
    faults_in_a_row=1,
    recent_returns=(-3.1, -2.0000000000000004),
)


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_state_comes_back_bit_for_bit(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, Checkpoint("abc", STATE, {"progress.csv": 120}))
    (path,) = checkpoint_files(tmp_path)
    read = read_checkpoint(path)
    assert read.digest == "abc" and read.log_bytes == {"progress.csv": 120}
    for name in ("parameters", "moments", "best_parameters"):
        assert same(getattr(read.state, name), getattr(STATE, name))
    plain = {"parameters": {}, "moments": {}, "best_parameters": {}}
    assert replace(read.state, **plain) == replace(STATE, **plain)


def test_a_state_without_a_score_yet(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, Checkpoint("abc", replace(STATE, best_score=-math.inf), {}))
    assert read_checkpoint(checkpoint_files(tmp_path)[0]).state.best_score == -math.inf


def write(folder: Path, *iterations: int, digest: str = "abc") -> None:
    for iteration in iterations:
        write_checkpoint(folder, Checkpoint(digest, replace(STATE, iteration=iteration), {}))


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    write(tmp_path, 0, 9, 10, 100)
    assert [path.name for path in checkpoint_files(tmp_path)] == [
        "iteration-00000100.safetensors",
        "iteration-00000010.safetensors",
    ]
    newest = newest_checkpoint(tmp_path, "abc")
    assert newest is not None and newest.state.iteration == 100


def test_none_yet(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path, "abc") is None


@pytest.mark.parametrize("damage", [b"", b"{}", None])
def test_a_damaged_one_is_passed_over_with_a_warning(tmp_path: Path, damage: bytes | None) -> None:
    write(tmp_path, 3, 6)
    newest, older = checkpoint_files(tmp_path)
    newest.write_bytes(newest.read_bytes()[:-1] if damage is None else damage)
    with pytest.raises(DamagedCheckpoint, match=newest.name):
        read_checkpoint(newest)
    with pytest.warns(UserWarning, match=f"{newest.name}: .*; going on from {older.name}"):
        found = newest_checkpoint(tmp_path, "abc")
    assert found is not None and found.state.iteration == 3
    older.write_bytes(b"")
    with pytest.raises(Refusal, match="no checkpoint of .* can be used: .*iteration-00000006.*iteration-00000003"):
        newest_checkpoint(tmp_path, "abc")


def test_one_of_another_training_is_refused(tmp_path: Path) -> None:
    write(tmp_path, 3, digest="other")
    with pytest.raises(Refusal, match="written with other settings than the run has now: config.json was altered"):
        newest_checkpoint(tmp_path, "abc")


def test_one_of_a_later_metarl_is_not_taken_for_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "KIND", replace(checkpoints.KIND, version=99))
        write(tmp_path, 3)
    with pytest.raises(Refusal, match="format version 99"):
        newest_checkpoint(tmp_path, "abc")
