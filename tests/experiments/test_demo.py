"""The demo, on fewer meta-iterations."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import fails, succeeds
from PIL import Image

from metarl.experiments.commands.demo import next_run
from metarl.policies.controller import load


def test_the_demo_trains_adapts_and_draws_and_can_be_run_again(tmp_path: Path) -> None:
    out = succeeds("demo", "--iterations", 1, "--out", tmp_path / "demo")
    assert "100 unseen goals" in out and "1/1 meta-iterations" in out
    for picture in ("trajectories.png", "run-1/learning_curve.png"):
        assert str(tmp_path / "demo" / picture) in out
        with Image.open(tmp_path / "demo" / picture) as image:
            assert image.width > 600
    assert load(tmp_path / "demo" / "run-1" / "controller.safetensors").metadata.method == "maml"
    assert next_run(tmp_path / "demo") == tmp_path / "demo" / "run-2"


def test_a_folder_that_is_not_the_demos_stays_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("")
    assert "not made by the demo" in fails("demo", "--out", tmp_path)
    with pytest.raises(ValueError):
        next_run(tmp_path / "thesis.txt")
