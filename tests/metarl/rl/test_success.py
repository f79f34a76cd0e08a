"""Success rates go from the environment's info to evaluations, their tables and JSON."""

import json
import sys
from types import SimpleNamespace

import pytest
import torch
from command_line import TINY, succeeds
from own_environments import point_with

import metarl


def reached_above_zero(env, step):
    """Tell of success where the goal is above zero, in the third step."""
    return (*step[:4], {"is_success": env.goal > 0 and env.time == 3})


@pytest.fixture(scope="module")
def controller():
    family = point_with(reached_above_zero, processes=False)
    return metarl.train(family, iterations=1, meta_batch_size=2, episodes_per_task=2, hidden_sizes=(4,), threads=1)


def test_an_evaluation_has_success_rates(controller) -> None:
    evaluation = metarl.evaluate(controller, tasks=7, family=point_with(reached_above_zero, processes=False))
    expected = torch.from_numpy(evaluation.tasks[:, 0] > 0).double()
    assert torch.equal(evaluation.successes, expected.expand(2, 7))
    assert [interval.mean for interval in evaluation.success_intervals()] == pytest.approx([float(expected.mean())] * 2)
    assert "success after 1 inner step" in repr(evaluation)
    silent = metarl.evaluate(controller, tasks=3, family=point_with(processes=False))
    assert silent.success_intervals() == () and "success" not in repr(silent)


def test_the_command_shows_and_writes_them(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    families = {"tells": point_with(reached_above_zero, processes=False), "silent": point_with(processes=False)}
    monkeypatch.setitem(sys.modules, "mine", SimpleNamespace(**families))
    monkeypatch.chdir(tmp_path)
    for name in families:
        succeeds("train", f"mine:{name}", *TINY, "--out", name)
        command = ("evaluate", f"{name}/controller.safetensors", "--family", f"mine:{name}", "--tasks", 4)
        out = succeeds(*command, "--json", f"{name}.json")
        record = json.loads((tmp_path / f"{name}.json").read_text())
        assert ("success rate" in out) == ("successes" in record) == ("task_successes" in record) == (name == "tells")
    record = json.loads((tmp_path / "tells.json").read_text())
    expected = [float(each["task"]["goal"] > 0) for each in record["task_returns"]]
    assert record["task_successes"] == [[success] * 2 for success in expected]
    assert [each["mean"] for each in record["successes"]] == pytest.approx([sum(expected) / 4] * 2)
