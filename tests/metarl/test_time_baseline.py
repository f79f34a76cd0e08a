"""A training whose baseline sees time alone, up to a robot that stores nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from point_family import point_family

import metarl
from metarl.policies.advantages import estimate_advantages, time_polynomial_features
from metarl.rl.settings import TrainSettings

SETTINGS = TrainSettings(
    method="anil", iterations=2, meta_batch_size=2, episodes_per_task=3, hidden_sizes=(6,), baseline="time", threads=1
)


def test_advantages_do_not_depend_on_what_was_observed() -> None:
    random = torch.Generator().manual_seed(0)
    rewards, valid = torch.randn(3, 12, generator=random), torch.ones(3, 12, dtype=torch.bool)
    found = [
        estimate_advantages(torch.randn(3, 12, 4, generator=random), rewards, valid, 0.9, 0.8, "time") for _ in range(2)
    ]
    torch.testing.assert_close(*found, rtol=0, atol=0)
    hundreds = torch.arange(12) / 100
    columns = torch.stack([hundreds, hundreds**2, hundreds**3, torch.ones(12)], dim=-1)
    torch.testing.assert_close(time_polynomial_features(torch.randn(3, 12, 4), "time"), columns.expand(3, 12, 4))


def test_it_trains_and_its_controller_streams(tmp_path: Path) -> None:
    controller = metarl.train(point_family(), settings=SETTINGS)
    assert controller.metadata.baseline == "time"
    controller.save(tmp_path / "time.safetensors")
    controller = metarl.load(tmp_path / "time.safetensors")
    assert controller.metadata.baseline == "time"
    full = metarl.train(point_family(), settings=replace(SETTINGS, baseline="full"))
    full.save(tmp_path / "full.safetensors")
    assert b'"baseline"' not in (tmp_path / "full.safetensors").read_bytes().partition(b'"training"')[0]
    assert any(not torch.equal(full.parameters[name], tensor) for name, tensor in controller.parameters.items())
    random, recorder = np.random.default_rng(0), metarl.Recorder(controller, np.random.default_rng(1), streaming=True)
    observations = controller.network.observation_size
    for _ in range(3):
        for _ in range(controller.metadata.horizon):
            recorder.act(random.standard_normal(observations))
            recorder.reward(float(random.standard_normal()))
        recorder.end_episode()
    adapted = recorder.adapt()
    last = controller.network.layer_names[-1]
    changed = {
        name for name, tensor in controller.parameters.items() if not torch.equal(tensor, adapted.parameters[name])
    }
    assert changed == {f"{last}.weight", f"{last}.bias", f"{last}.log_std"}
