"""Evaluation in another way than trained: horizons, episodes, numbers of inner steps, mean actions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from device_problems import device_controller, device_parameters
from point_family import PointSimulator, point_family

import metarl
from metarl.core.errors import Refusal
from metarl.policies.controller import Controller
from metarl.policies.gate import GATE
from metarl.policies.methods import CHANNEL_STEP_SIZES, METHODS, STEP_SIZES
from metarl.policies.networks.mlp import GaussianMLP
from metarl.rl.variation import varied

NETWORK = GaussianMLP(observation_size=1, hidden_sizes=(6,), action_size=1)


def controller_of(method: str = "maml++", inner_steps: int = 3) -> Controller:
    parameters = device_parameters(NETWORK, method, inner_steps=inner_steps)
    return device_controller(NETWORK, method, parameters, family="point", horizon=7)


@pytest.mark.parametrize(("steps", "rows"), [(1, [0]), (2, [0, 1]), (3, [0, 1, 2]), (5, [0, 1, 2, 2, 2])])
def test_steps_beyond_the_trained_ones_repeat_the_last(steps: int, rows: list[int]) -> None:
    controller = controller_of()
    parameters = controller.parameters | {GATE: torch.tensor([[1.0, 0.1], [1.0, 0.2], [1.0, 0.3]])}
    changed = varied(replace(controller, parameters=parameters), inner_steps=steps)
    assert changed.metadata.inner_steps == steps
    for name in (STEP_SIZES, GATE):
        assert torch.equal(changed.parameters[name], parameters[name][rows])
    assert torch.equal(changed.parameters["layer1.weight"], parameters["layer1.weight"])


def test_step_sizes_of_channels_have_a_row_for_each_step_too() -> None:
    changed = varied(controller_of("p-meta-alpha-ch"), inner_steps=4)
    found = [tensor for name, tensor in changed.parameters.items() if name.startswith(CHANNEL_STEP_SIZES)]
    assert found and all(len(tensor) == 4 for tensor in found)


@pytest.mark.parametrize("method", METHODS)
def test_without_another_setting_nothing_changes(method: str) -> None:
    controller = controller_of(method)
    same = varied(controller)
    assert same.metadata == controller.metadata
    assert all(torch.equal(same.parameters[name], tensor) for name, tensor in controller.parameters.items())


@pytest.mark.parametrize("name", ["horizon", "episodes", "inner_steps"])
def test_numbers_below_one_are_refused(name: str) -> None:
    with pytest.raises(Refusal, match=f"{name} must be at least 1, got 0"):
        varied(controller_of(), **{name: 0})


def test_fewer_inner_steps_are_the_first_of_all() -> None:
    all_steps = metarl.evaluate(controller_of(), tasks=4, family=point_family())
    one = metarl.evaluate(controller_of(), tasks=4, inner_steps=1, family=point_family())
    assert one.returns.shape == (2, 4) and torch.equal(one.returns, all_steps.returns[:2])
    adapted = metarl.adapt(controller_of(), {"target": 0.5}, inner_steps=5, episodes=2, family=point_family())
    assert (adapted.metadata.inner_steps, adapted.metadata.episodes_per_step) == (5, 2)


class StillPoint(PointSimulator):
    """Starts at 0, so that the mean actions alone decide where it goes."""

    def reset(self, tasks, seeds):
        super().reset(tasks, seeds)
        self.positions[:] = 0
        return self.positions[..., np.newaxis].copy()


@pytest.mark.parametrize("horizon", [7, 3])
def test_the_returns_of_mean_actions_are_those_worked_by_hand(horizon: int) -> None:
    controller = controller_of()
    parameters = {name: torch.zeros_like(tensor) for name, tensor in controller.parameters.items()}
    parameters |= {"layer2.bias": torch.tensor([0.4]), STEP_SIZES: controller.parameters[STEP_SIZES]}
    controller = replace(controller, parameters=parameters)
    family = point_family(make_simulator=lambda threads: StillPoint())
    evaluation = metarl.evaluate(controller, tasks=3, horizon=horizon, deterministic=True, family=family)
    # The action scale is 0.5: the point moves by 0.2 a step.
    positions = 0.2 * np.arange(1, horizon + 1)
    for task, returned in zip(evaluation.tasks[:, 0], evaluation.returns[0], strict=True):
        ends = np.flatnonzero(abs(positions - task) < 0.01)
        steps = ends[0] + 1 if ends.size else horizon
        assert float(returned) == pytest.approx(-abs(positions[:steps] - task).sum(), abs=1e-5)
    noisy = metarl.evaluate(controller, tasks=3, horizon=horizon, family=family)
    assert not torch.allclose(noisy.returns[0], evaluation.returns[0], atol=1e-3)


def test_an_evaluation_prints_itself() -> None:
    evaluation = metarl.evaluate(controller_of(inner_steps=1), tasks=4, family=point_family())
    text = repr(evaluation)
    assert "tasks 4" in text and "return after 1 inner step -" in text and "\n" not in text and len(text) < 200
    assert "<th>return after 0 inner steps</th>" in evaluation._repr_html_()
