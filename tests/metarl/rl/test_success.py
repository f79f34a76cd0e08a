"""Success rates go from the environment's info to evaluations, their tables and JSON."""

import csv
import json
import sys
from types import SimpleNamespace

import pytest
import torch
from command_line import TINY, succeeds
from own_environments import point_with
from report_pages import curve
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import metarl
from metarl.experiments.report.runs import group_runs, read_runs
from metarl.experiments.report.training_charts import return_charts
from metarl.runs.logs import RunLog
from metarl.runs.state import Step, TrainingState


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


def logged(folder) -> list[dict[str, str]]:
    with (folder / "progress.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_training_logs_them_where_the_environment_tells(tmp_path) -> None:
    drawn = []

    def sample_tasks(count, generator):
        drawn.append(generator.uniform(-1, 1, (count, 1)))
        return drawn[-1]

    tiny = {
        "meta_batch_size": 4,
        "episodes_per_task": 2,
        "hidden_sizes": (4,),
        "threads": 1,
        "iterations": 3,
        "seed": 1,
    }
    family = point_with(reached_above_zero, processes=False, sample_tasks=sample_tasks)
    metarl.train(family, out=tmp_path / "tells", gate="none", **tiny)
    shares = [float((tasks > 0).mean()) for tasks in drawn[-3:]]
    rows = logged(tmp_path / "tells")
    assert len(set(shares)) > 1, "the test needs different rates"
    assert [[float(row[f"success_{steps}"]) for steps in (0, 1)] for row in rows] == [[share] * 2 for share in shares]
    assert list(rows[0])[5:9] == ["success_0", "success_0_ci95", "success_1", "success_1_ci95"]
    events = EventAccumulator(str(tmp_path / "tells" / "tensorboard")).Reload().Scalars("success_1")
    assert [event.value for event in events] == shares
    chart = return_charts(group_runs(read_runs([tmp_path / "tells"])))[1]
    assert chart.title == "Success rate before and after adaptation"
    assert curve(chart, "after 1 inner step")[:, 1].tolist() == pytest.approx(shares, abs=1e-3)

    metarl.train(point_with(processes=False), out=tmp_path / "silent", gate="none", **tiny)
    assert not any("success" in name for name in logged(tmp_path / "silent")[0])


@pytest.mark.parametrize("fault", ["", "a reward is not finite"])
def test_a_first_iteration_with_a_fault_leaves_the_columns_to_the_next(tmp_path, fault) -> None:
    state = TrainingState(1, {}, {}, {}, 0.0, 0)
    first = {"iteration": 1} if fault else {"iteration": 1, "return_0": -1.0}
    rows = [first, {"iteration": 2, "return_0": -2.0, "success_0": 0.5}]
    for row in rows:  # each with a log of its own, as after a resume
        log = RunLog(tmp_path, {"progress.csv": ["iteration", "return_0", "success_0"], "timings.csv": ["iteration"]})
        log.append(Step(state, row, {"iteration": row["iteration"]}, fault if row is first else ""))
    expected = (
        ["iteration,return_0,success_0", "1,,", "2,-2.0,0.5"] if fault else ["iteration,return_0", "1,-1.0", "2,-2.0"]
    )
    assert (tmp_path / "progress.csv").read_text().split() == expected
