"""When a training first reaches the target, from logs written by hand, and by a training that stops there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import fails, rejects, succeeds

from metarl.experiments.bench import learning
from metarl.rl.settings import TrainSettings, preset


def write_logs(folder: Path, returns: list[float], family: str = "half-cheetah-velocity") -> Path:
    """A run whose iterations take 100 steps, a second of sampling and half a second of line search."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"family": family, "settings": {"method": "maml", "threads": 1}}))
    rows = [f"{number},{each},100" for number, each in enumerate(returns, start=1)]
    (folder / "progress.csv").write_text("\n".join(["iteration,return_1,env_steps", *rows]) + "\n")
    rows = [f"{number},1,0.5,70" for number in range(1, len(returns) + 1)]
    header = "iteration,sampling_seconds,line_search_seconds,env_steps_per_second"
    (folder / "timings.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder


def test_the_first_window_of_ten_at_the_target() -> None:
    """Ten of -90, then ten of -80: the mean is -90 + n after n of the latter, so the eighth reaches -82.2."""
    returns = np.array([-90.0] * 10 + [-80.0] * 10)
    assert learning.first_reached(returns) == 18
    assert learning.first_reached(returns[:17]) is None and learning.first_reached(returns[-9:]) is None
    assert learning.first_reached(np.full(10, -82.0)) == 10
    assert learning.first_reached(np.insert(returns, 12, np.nan)) is None


def test_steps_and_seconds_are_those_up_to_there(tmp_path: Path) -> None:
    reached = write_logs(tmp_path / "a", [-90.0] * 10 + [-80.0] * 10)
    never = write_logs(tmp_path / "b", [-90.0] * 12)
    result = learning.run(runs=[reached, never])
    assert [each["iteration"] for each in result["runs"]] == [18, 12]
    assert (result["steps"], result["seconds"]) == (1800, 27)
    out = succeeds("bench", "learning", "--runs", reached, never, "--json", tmp_path / "n.json")
    assert "1,800" in out and "1 of 2 runs reached it" in out
    assert json.loads((tmp_path / "n.json").read_text()) == result
    assert learning.run(runs=[never])["steps"] is None


def test_what_is_no_such_run_is_refused(tmp_path: Path) -> None:
    other = write_logs(tmp_path / "other", [-1.0], family="navigation-2d")
    assert "is about half-cheetah-velocity" in fails("bench", "learning", "--runs", other)
    assert "nowhere" in fails("bench", "learning", "--runs", tmp_path / "nowhere")
    empty = write_logs(tmp_path / "empty", [])
    (empty / "progress.csv").unlink()
    assert "lacks progress.csv" in fails("bench", "learning", "--runs", empty)
    assert "--runs belongs to learning" in rejects("bench", "images", "--runs", other)


def test_trainings_stop_at_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a target that every policy reaches, a training ends after the first iterations."""

    def tiny(family: str, **settings: object) -> TrainSettings:
        small = {"meta_batch_size": 2, "episodes_per_task": 2, "horizon": 5, "hidden_sizes": (4,)}
        return preset(family, **settings, **small)

    monkeypatch.setattr(learning, "preset", tiny)
    monkeypatch.setattr(learning, "SEEDS", (0, 1))
    monkeypatch.setattr(learning, "MOST_ITERATIONS", 11)
    monkeypatch.setattr(learning, "TARGET_RETURN", -1e-9)
    result = learning.run(threads=1)
    assert [(each["iteration"], each["reached"], each["steps"]) for each in result["runs"]] == [
        (11, False, 2 * 2 * 2 * 5 * 11)
    ] * 2
    monkeypatch.setattr(learning, "TARGET_RETURN", -1e6)
    assert all(each["iteration"] == 1 for each in learning.run(threads=1)["runs"])
