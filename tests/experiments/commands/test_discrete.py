"""Gymnasium's CartPole with its own actions goes the whole way on the command line."""

import csv
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from command_line import fails, succeeds

import metarl
from metarl.policies.networks.mlp import CategoricalMLP

FIELDS = "length=0.3:1", "gravity=5:15"
FAMILY = ",".join(("gym:CartPole-v1", *FIELDS))
SMALL = tuple(shlex.split("--meta-batch-size 3 --episodes-per-task 4 --horizon 30 --hidden-sizes 8 --threads 1"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("discrete") / "run"
    succeeds("train", "gym:CartPole-v1", "--field", *FIELDS, "--iterations", 3, *SMALL, "--out", out)
    return out


def test_it_trains_and_logs_the_entropy(run: Path) -> None:
    network = metarl.load(run).network
    assert network == CategoricalMLP(4, (8,), 2)
    rows = list(csv.DictReader((run / "progress.csv").open()))
    assert "action_std" not in rows[0] and len(rows) == 3
    assert all(0.5 < float(row["action_entropy"]) <= np.log(2) for row in rows), "of nearly equal chances"
    assert all(0 < float(row["kl"]) <= 0.01 for row in rows if row["step_accepted"] == "1")


def test_a_resumed_run_ends_with_the_same_bytes(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    succeeds("train", "gym:CartPole-v1", "--field", *FIELDS, "--iterations", 2, *SMALL, "--out", out)
    succeeds("train", "--resume", out, "--iterations", 3)
    assert (out / "progress.csv").read_bytes() == (run / "progress.csv").read_bytes()


@pytest.mark.parametrize("extra", [(), ("--deterministic",)])
def test_it_is_evaluated(run: Path, tmp_path: Path, extra: tuple[str, ...]) -> None:
    out = succeeds("evaluate", run, "--family", FAMILY, "--tasks", 3, "--json", tmp_path / "returns.json", *extra)
    record = json.loads((tmp_path / "returns.json").read_text())
    assert len(record["returns"]) == 2 and all(0 < each["mean"] <= 30 for each in record["returns"])
    assert ("most likely actions" in " ".join(out.split())) == bool(extra)


def test_it_adapts_and_shows_itself(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "adapted.safetensors"
    succeeds("adapt", run, "--family", FAMILY, "--task", "length=0.5", "gravity=9.8", "--out", file)
    assert metarl.load(file).metadata.adapted_to == {"length": 0.5, "gravity": 9.8}
    out = succeeds("inspect", run, "--family", FAMILY, "--json", tmp_path / "inspected.json")
    assert "2 choices" in out and "action std" not in out
    assert "action_std" not in json.loads((tmp_path / "inspected.json").read_text())
    assert "On a device" in succeeds("cost", run)
    succeeds("report", run, "--family", FAMILY, "--tasks", 2, "--out", tmp_path / "report.html")
    assert "Entropy of the actions" in (tmp_path / "report.html").read_text()


def test_a_training_starts_from_it(run: Path, tmp_path: Path) -> None:
    options = "--field", *FIELDS, "--iterations", 1, *SMALL, "--out", tmp_path / "second"
    succeeds("train", "gym:CartPole-v1", "--init", run, *options)
    assert "2 actions to choose from, but navigation-2d has" in fails(
        "train", "navigation-2d", "--init", run, *SMALL, "--out", tmp_path / "other"
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--action-scale", "2"), "action_scale is for actions that are vectors, and gym:CartPole-v1,.* has 2 actions"),
        (("--initial-std", "0.5"), "initial_std is for actions that are vectors"),
    ],
)
def test_settings_of_vectors_are_refused(options: tuple[str, ...], sentence: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    told = fails("train", "gym:CartPole-v1", "--field", *FIELDS, *SMALL, *options, "--out", out)
    assert re.search(sentence, told) and not out.exists()


def test_what_cannot_be_exported_is_refused(run: Path, tmp_path: Path) -> None:
    for options in ((), ("--policy-only",), ("--storage", "none")):
        told = fails("export", run, "--out", tmp_path / "c", "--family", FAMILY, *options)
        assert told == "the export to C is for actions that are vectors, and this controller has 2 choices"
    assert not (tmp_path / "c").exists()


def test_a_policy_that_chooses_is_pruned(run: Path, tmp_path: Path) -> None:
    pruned = metarl.prune(run, family=FAMILY, sparsity=0.5, rounds=1, iterations=1, tasks=2, threads=1)
    assert isinstance(pruned.network, CategoricalMLP)
    with pytest.raises(ValueError, match="the criterion weighted is for actions that are vectors"):
        metarl.prune(run, family=FAMILY, criterion="weighted")
