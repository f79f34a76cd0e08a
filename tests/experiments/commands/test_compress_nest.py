"""``metarl compress nest``, and what the other commands make of its file."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from command_line import fails, rejects, succeeds
from small_classifiers import small_classifier

from metarl.experiments.analysis.fleet_nest import FOLDER, filed_records, sheets
from metarl.experiments.analysis.fleet_nest_plot import nest_figure
from metarl.policies.nested import load_nested

QUICK = shlex.split("--epochs 1 --iterations 1 --tuning 1 --tasks 1 --validation-tasks 1 --judge-tasks 2 --threads 1")


@pytest.fixture(scope="module")
def nested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nest")
    file = folder / FOLDER / "navigation-2d" / "maml" / "seed0.json"
    file.parent.mkdir(parents=True)
    arguments = ["--sparsities", "0.5,0.9", "--separate-iterations", 0, "--out", folder / "run", "--json", file]
    told = succeeds("compress", "nest", "navigation-2d/maml", *QUICK, *arguments)
    assert "subnet 2" in told and "separate" in told
    return folder


def test_the_verdict_tells_each_subnet_and_the_bytes_of_one_file(nested: Path):
    (record,) = filed_records(nested)
    whole = load_nested(nested / "run")
    assert [each["macs"] for each in record["subnets"]] == [whole.subnet(number).macs for number in (1, 2)]
    assert record["nested_file_bytes"] == (nested / "run" / "controller.safetensors").stat().st_size
    assert record["nested_file_bytes"] < record["separate_file_bytes"]
    assert [row[0] for row in sheets([record])[0].rows] == [
        "dense", "subnet 50 %", "subnet 90 %", "separate 50 %", "separate 90 %",
    ]  # fmt: skip
    assert len(nest_figure([record]).axes) == 1
    (nested / FOLDER / "broken.json").write_text("{}")
    with pytest.raises(ValueError, match=r"broken.json is no verdict"):
        filed_records(nested)
    (nested / FOLDER / "broken.json").unlink()


def test_the_other_commands_take_a_subnet(nested: Path, tmp_path: Path):
    run, file = nested / "run", tmp_path / "inspected.json"
    succeeds("inspect", run, "--json", file)
    facts = json.loads(file.read_text())["subnets"]
    assert [each["multiplications"] for each in facts] == [load_nested(run).subnet(number).macs for number in (1, 2)]
    succeeds("inspect", run, "--subnet", 2)
    succeeds("cost", run, "--subnet", 2)
    succeeds("evaluate", run, "--subnet", 2, "--tasks", 2, "--threads", 1)
    task = ("--task", "goal_x=0.3", "goal_y=0.2")
    succeeds("adapt", run, *task, "--subnet", 1, "--threads", 1, "--out", tmp_path / "adapted.safetensors")
    assert "--subnet" in fails("evaluate", run, "--tasks", 2)
    assert "1, the densest, to 2, got 3" in fails("evaluate", run, "--subnet", 3, "--tasks", 2)
    assert "no subnets" in fails("evaluate", "navigation-2d/maml", "--subnet", 1, "--tasks", 2)
    sentence = fails("compress", "nest", tmp_path / "adapted.safetensors", "--out", tmp_path / "again")
    assert "adapted" in sentence and not (tmp_path / "again").exists()


def test_exports_of_a_subnet_agree_with_its_table(nested: Path, tmp_path: Path):
    observations = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    told = succeeds(
        "export", nested / "run", "--subnet", 2, "--out", tmp_path / "c", "--run", "host", "--json", tmp_path / "c.json"
    )
    assert "C:" in told
    ran = json.loads((tmp_path / "c.json").read_text())
    assert ran["max_action_difference"] < 1e-5 and ran["max_difference"] < 1e-5
    onnxruntime = pytest.importorskip("onnxruntime")
    succeeds("export", nested / "run", "--subnet", 2, "--target", "onnx", "--out", tmp_path / "policy.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "policy.onnx")
    name = session.get_inputs()[0].name
    action = np.concatenate([session.run(None, {name: each[None]})[0] for each in observations])
    assert action == pytest.approx(load_nested(nested / "run").subnet(2).predict(observations), abs=1e-5)


@pytest.mark.parametrize("sparsities", ["0.9,0.5", "0.5", "0.5,1.0", "0,0.5"])
def test_impossible_sparsities_are_refused_and_nothing_is_written(sparsities, tmp_path: Path):
    assert rejects("compress", "nest", "navigation-2d/maml", "--sparsities", sparsities, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_rows_that_do_not_divide_a_filter_are_refused(tmp_path: Path):
    from metarl.policies.networks.conv4 import Conv4

    small_classifier(network=Conv4(side=16, ways=3, width=32)).save(tmp_path / "images.safetensors")
    sentence = fails("compress", "nest", tmp_path / "images.safetensors", "--row", "256", "--out", tmp_path / "run")
    assert "rows of 256 do not divide the 288 weights" in sentence and not (tmp_path / "run").exists()
