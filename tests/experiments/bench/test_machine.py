"""The machine beside a measurement."""

import json
import platform
from pathlib import Path

import pytest
from command_line import succeeds

from metarl.experiments.bench import sampling
from metarl.experiments.bench.machine import machine, machine_text, processor


def test_the_processor_is_the_one_that_linux_names(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(
        "processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\n\nprocessor\t: 1\nmodel name\t: Some CPU @ 2.00GHz\n"
    )
    assert processor(file) == "Some CPU @ 2.00GHz"
    assert processor(tmp_path / "none") == (platform.processor() or platform.machine()) != ""


def test_the_line_tells_everything() -> None:
    told = {"processor": "Some CPU", "cores": 1, "metarl": "0.1.0", "torch": "2.13.0"}
    assert machine_text(told) == "On Some CPU, 1 core, with metarl 0.1.0, torch 2.13.0."
    assert list(machine()) == ["processor", "cores", "metarl", "torch", "mujoco", "numpy"]


def test_a_measurement_tells_its_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "run", lambda threads: {"ratio": 0.5})
    monkeypatch.setattr(sampling, "show", lambda result: None)
    assert succeeds("bench", "sampling", "--json", tmp_path / "n.json") == f"{machine_text(machine())}\n"
    assert json.loads((tmp_path / "n.json").read_text()) == {"ratio": 0.5, "machine": machine()}
