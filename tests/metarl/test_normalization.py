"""Normalized observations in meta-training, in the controller and in its file."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from point_family import point_family
from safetensors.torch import load_file

import metarl
from metarl.inner_loop import as_leaves, inner_step
from metarl.policies.methods import get_method
from metarl.policies.normalization import COUNT, MEAN, STD, normalize
from metarl.rl.batch import prepare_batch
from metarl.rl.episodes import Episodes

TINY = {"iterations": 3, "meta_batch_size": 3, "episodes_per_task": 4, "threads": 1, "hidden_sizes": (5,)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    metarl.train(point_family(6), normalize_observations=True, method="maml++", out=out, **TINY)
    return out


@pytest.fixture(scope="module")
def controller(folder: Path) -> metarl.Controller:
    return metarl.load(folder)


def test_the_statistics_count_every_observation_before_the_best_iteration(
    controller: metarl.Controller, folder: Path
) -> None:
    with (folder / "progress.csv").open(newline="") as file:
        steps = [int(row["env_steps"]) for row in csv.DictReader(file)]
    best = controller.metadata.training["best_iteration"]
    assert controller.parameters[COUNT].item() == sum(steps[: best - 1])
    assert (controller.parameters[STD] > 0).all()


def test_the_controller_acts_on_normalized_observations(controller: metarl.Controller) -> None:
    observation = np.full((1, controller.network.observation_size), 0.7, np.float32)
    seen = normalize(controller.parameters, torch.from_numpy(observation))
    expected, _ = controller.network(controller.parameters, seen)
    np.testing.assert_allclose(controller.policy_action(observation), expected.detach().numpy(), rtol=1e-6)


def test_training_and_device_learn_from_the_same_numbers(controller: metarl.Controller) -> None:
    """The batch of the training holds what the policy saw; the device gets the raw recording and normalizes it."""
    random = torch.Generator().manual_seed(0)
    shapes = ((1, 4, 6, controller.network.observation_size), (1, 4, 6, controller.network.action_size), (1, 4, 6))
    observations, actions, rewards = (torch.randn(shape, generator=random) for shape in shapes)
    episodes = Episodes(observations, actions, rewards, torch.ones(1, 4, 6, dtype=torch.bool), torch.zeros(1, 4))
    batch = prepare_batch(episodes, 0, 0.99, 1.0, controller.parameters)
    torch.testing.assert_close(batch.observations, normalize(controller.parameters, observations[0].flatten(0, 1)))
    step = inner_step(controller.network, as_leaves(controller.parameters), get_method("maml++"), 0, batch, False)
    adapted = controller.adapt(episodes.recorded(0))
    for name in controller.network.parameter_shapes:
        torch.testing.assert_close(adapted.parameters[name], step.parameters[name].detach(), rtol=1e-4, atol=1e-5)
    assert torch.equal(adapted.parameters[MEAN], controller.parameters[MEAN])


def test_the_file_keeps_the_statistics(controller: metarl.Controller, tmp_path: Path) -> None:
    controller.save(tmp_path / "c.safetensors")
    assert {MEAN, STD, COUNT} <= load_file(tmp_path / "c.safetensors").keys()
    assert torch.equal(metarl.load(tmp_path / "c.safetensors").parameters[MEAN], controller.parameters[MEAN])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [({STD: torch.zeros(1)}, "must be at least"), ({COUNT: None}, "is missing"), ({MEAN: torch.zeros(3)}, "shape")],
)
def test_impossible_statistics_are_refused(
    controller: metarl.Controller, change: dict[str, torch.Tensor | None], sentence: str
) -> None:
    parameters = {name: tensor for name, tensor in (controller.parameters | change).items() if tensor is not None}
    with pytest.raises(ValueError, match=sentence):
        metarl.Controller(parameters, controller.network, controller.metadata)
