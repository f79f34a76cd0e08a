"""The demo, on fewer meta-iterations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import fails, succeeds
from PIL import Image
from rich.console import Console

from metarl.core.randomness import Purpose, generator
from metarl.envs.registry import get_family
from metarl.experiments.commands import demo
from metarl.experiments.commands.demo import adapt_on_robot, next_run, record
from metarl.policies.device.meter import Meter
from metarl.policies.loading import load_controller
from metarl.rl.training import with_horizon


def test_the_demo_trains_adapts_and_draws_and_can_be_run_again(tmp_path: Path) -> None:
    out = succeeds("demo", "--iterations", 1, "--out", tmp_path / "demo")
    assert "100 unseen goals" in out and "1/1 meta-iterations" in out
    assert "target_velocity=1.5" in out and "before" in out and "MB of working memory" in out
    for picture in ("trajectories.png", "run-1/learning_curve.png", "half_cheetah.gif"):
        assert str(tmp_path / "demo" / picture) in out
        with Image.open(tmp_path / "demo" / picture) as image:
            assert image.width > 600 or image.n_frames == 100
    assert load_controller(tmp_path / "demo" / "run-1" / "controller.safetensors").metadata.method == "maml"
    assert next_run(tmp_path / "demo") == tmp_path / "demo" / "run-2"


def test_the_robot_adapts_as_a_device_does_and_its_memory_is_that_of_the_step(
    controller: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "CHUNK", 2)
    before, family, task = (
        load_controller(controller),
        with_horizon(get_family("navigation-2d"), 5),
        {"goal_x": 0.3, "goal_y": 0.4},
    )
    run = adapt_on_robot(before, family, task)
    episodes = record(before, family.make_env(), task, 5, generator(0, Purpose.ADAPTATION)).episodes
    assert [len(episode["rewards"]) for episode in episodes] == [5] * before.metadata.episodes_per_step
    meter = Meter()
    expected = before.adapt(episodes, chunk=2, meter=meter)
    for name, tensor in expected.parameters.items():
        assert torch.equal(run.adapted.parameters[name], tensor)
    assert run.peak_bytes == meter.peak > 0 and run.seconds > 0
    assert len(run.returns) == 2
    assert run.returns[0] == pytest.approx(np.mean([sum(episode["rewards"]) for episode in episodes]), rel=1e-6)
    # The rewards are distances to a goal that is 0.5 away, and five steps reach no further than 0.71.
    assert all(-5 * (0.5 + 5 * 0.15) < value < 0 for value in run.returns)


@pytest.mark.parametrize(("ships", "chosen"), [(["p-meta", "maml"], "p-meta"), (["maml", "anil"], "maml")])
def test_the_robot_runs_p_meta_if_that_ships(
    ships: list[str], chosen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []

    def note(name: str) -> None:
        loaded.append(name)
        raise InterruptedError

    monkeypatch.setattr(demo, "pretrained_files", lambda: [f"half-cheetah-velocity/{method}" for method in ships])
    monkeypatch.setattr(demo, "load_controller", note)
    with pytest.raises(InterruptedError):
        demo.show_robot(tmp_path / "robot.gif", Console())
    assert loaded == [f"half-cheetah-velocity/{chosen}"]


def test_a_folder_that_is_not_the_demos_stays_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("")
    assert "not made by the demo" in fails("demo", "--out", tmp_path)
    with pytest.raises(ValueError):
        next_run(tmp_path / "thesis.txt")
