"""The notebooks run from their first cell to their last, with smaller sizes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "examples"
# What takes the place of the numbers in a notebook's sizes.
SMALLER = {
    "01_first_controller": {"ITERATIONS": 1, "TASKS": 2},
    "02_own_robot": {
        "ITERATIONS": 1,
        "META_BATCH_SIZE": 2,
        "EPISODES": 2,
        "HORIZON": 10,
        "CHECK_STEPS": 5,
        "TASKS": 2,
    },
    "03_onto_a_microcontroller": {"CHECK_EPISODES": 2, "PRUNE_TASKS": 2},
}


def notebook(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((FOLDER / f"{name}.ipynb").read_text())
    return content


def code_cells(name: str) -> list[str]:
    """Return the code of a notebook, each of its sizes replaced."""
    cells = ["".join(cell["source"]) for cell in notebook(name)["cells"] if cell["cell_type"] == "code"]
    for size, number in SMALLER[name].items():
        found = [index for index, code in enumerate(cells) if re.search(rf"^{size} = \d+", code, re.MULTILINE)]
        assert len(found) == 1, f"{name} has no {size}"
        cells[found[0]] = re.sub(rf"^{size} = \d+", f"{size} = {number}", cells[found[0]], flags=re.MULTILINE)
    return cells


def test_every_notebook_is_tested() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == sorted(SMALLER)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLER)
def test_a_notebook_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    for code in code_cells(name):
        exec(compile(code, f"{name}.ipynb", "exec"), names)


@pytest.mark.parametrize("name", SMALLER)
def test_outputs_are_stored_without_errors_and_small(name: str) -> None:
    outputs = [output for cell in notebook(name)["cells"] for output in cell.get("outputs", [])]
    assert outputs and not any(output["output_type"] == "error" for output in outputs)
    text = json.dumps(outputs)
    assert not re.search(r"/(tmp|home|root|work)/", text)
    assert (FOLDER / f"{name}.ipynb").stat().st_size < 300_000
