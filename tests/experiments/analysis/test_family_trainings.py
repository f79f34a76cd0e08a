"""What filed trainings gained, by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metarl.core.errors import Refusal
from metarl.experiments.analysis.family_trainings import filed_trainings, told, trainings_sheet


def file_training(folder: Path, returns: list[list[float]]) -> Path:
    run = folder / "hopper-velocity"
    run.mkdir(parents=True)
    (run / "progress.csv").write_text("iteration,return_0,return_0_ci95,return_1,return_1_ci95\n1,1,0,2,0\n2,,,,\n")
    (run / "timings.csv").write_text("iteration,env_steps_per_second\n1,100\n2,300\n3,200\n")
    record = {"family": "hopper-velocity", "method": "maml", "task_returns": [{"returns": each} for each in returns]}
    (run / "evaluation.json").write_text(json.dumps(record))
    return run


def test_a_row_by_hand(tmp_path: Path) -> None:
    """Gains 3, 1 and -1: their deviation is 2, and Student's t of two degrees 4.303: 4.303 * 2 / sqrt(3) = 4.97."""
    file_training(tmp_path, [[10, 13], [20, 21], [30, 29]])
    (training,) = filed_trainings(tmp_path)
    assert (training.iterations, training.first_return, training.worse) == (2, 2.0, pytest.approx(1 / 3))
    assert (training.gain.mean, training.gain.ci95) == (1.0, pytest.approx(4.968, abs=1e-3))
    (row,) = trainings_sheet([training]).rows
    expected = ["`hopper-velocity`", "`maml`", "2", "2.0", "20.0 ± 24.8", "21.0 ± 19.9", "1.0 ± 5.0", "33%", "200"]
    assert list(row) == expected
    assert told(training) == "maml, 2 iterations: 20.0 ± 24.8 → 21.0 ± 19.9, gain 1.0 ± 5.0"


def test_nothing_is_filed(tmp_path: Path) -> None:
    assert filed_trainings(tmp_path / "missing") == []
    (tmp_path / "unfinished").mkdir()
    assert filed_trainings(tmp_path) == []


@pytest.mark.parametrize("content", ["{", "{}", '{"task_returns": [{"returns": [1]}]}', "[]"])
def test_damaged_results_are_named(tmp_path: Path, content: str) -> None:
    run = file_training(tmp_path, [[1, 2], [3, 4]])
    (run / "evaluation.json").write_text(content)
    with pytest.raises(Refusal, match=r"evaluation.json is not what metarl evaluate --json writes"):
        filed_trainings(tmp_path)
    (run / "progress.csv").unlink()
    with pytest.raises(Refusal, match=r"progress.csv is missing or empty"):
        filed_trainings(tmp_path)
