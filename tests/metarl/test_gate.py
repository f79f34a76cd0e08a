"""The return gate in the inner loop and in meta-training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from command_line import TINY, succeeds
from device_problems import device_controller
from point_family import point_family
from small_problems import NETWORK, small_batch, small_objective, small_parameters, small_terms

import metarl
from metarl.inner_loop import as_leaves, inner_step
from metarl.policies.gate import GATE, GATE_STATISTICS, initial_gate
from metarl.policies.methods import get_method, trained_names

STATISTICS = torch.tensor([-60.0, 20.0], dtype=torch.float64)


def gated(a: float, b: float, method: str = "maml++", inner_steps: int = 1) -> dict[str, torch.Tensor]:
    gate = torch.tensor([[a, b]], dtype=torch.float64).repeat(inner_steps, 1)
    return small_parameters(method, inner_steps) | {GATE: gate, GATE_STATISTICS: STATISTICS}


def test_an_open_gate_is_the_step_without_one_bit_for_bit() -> None:
    plain = {name: tensor.float() for name, tensor in small_parameters("maml++").items()}
    batch = small_batch(0)
    batch = batch._replace(**{part: getattr(batch, part).float() for part in ("observations", "actions", "advantages")})
    with_gate = plain | initial_gate(1) | {GATE_STATISTICS: STATISTICS.float()}
    steps = [
        inner_step(NETWORK, as_leaves(parameters), get_method("maml++"), 0, batch, second_order=True).parameters
        for parameters in (plain, with_gate)
    ]
    assert all(torch.equal(steps[0][name], steps[1][name]) for name in plain)


def test_the_gate_scales_every_layers_step() -> None:
    near, far = (small_batch(0)._replace(mean_return=value) for value in (-60.0, -80.0))
    parameters = gated(1.0, -0.5)
    moves = []
    for batch in (near, far):
        adapted = inner_step(
            NETWORK, as_leaves(parameters), get_method("maml++"), 0, batch, second_order=False
        ).parameters
        moves.append({name: adapted[name] - parameters[name] for name in NETWORK.parameter_shapes})
    for name, move in moves[0].items():
        torch.testing.assert_close(moves[1][name], 1.5 * move)


@pytest.mark.parametrize("inner_steps", [1, 2])
def test_the_meta_gradient_of_the_gate_equals_finite_differences(inner_steps: int) -> None:
    parameters = gated(0.9, -0.3, inner_steps=inner_steps)
    objective = small_objective("maml++", inner_steps)
    returns = iter([-70.0, -55.0, -40.0, -65.0, -75.0, -50.0])
    terms = small_terms("maml++", inner_steps)
    terms.tasks = [
        task._replace(support=tuple(batch._replace(mean_return=next(returns)) for batch in task.support))
        for task in terms.tasks
    ]
    objective = replace(objective, terms=terms, trained=trained_names(get_method("maml++"), parameters))
    assert GATE in objective.trained and GATE_STATISTICS not in objective.trained
    gradient = objective.gradient(parameters)
    offset = sum(parameters[name].numel() for name in objective.trained[: objective.trained.index(GATE)])
    exact = gradient.trained[offset : offset + parameters[GATE].numel()]
    for index in range(parameters[GATE].numel()):
        step = torch.zeros(parameters[GATE].numel(), dtype=torch.float64)
        step[index] = 1e-5
        losses = [
            objective.measure(parameters | {GATE: parameters[GATE] + sign * step.view_as(parameters[GATE])}).loss
            for sign in (1, -1)
        ]
        assert float(exact[index]) == pytest.approx((losses[0] - losses[1]) / 2e-5, rel=1e-4, abs=1e-9)


def test_a_device_takes_the_gated_step() -> None:
    """The controller sees the mean return of what it recorded, and moves by the factor that it tells."""
    plain = {name: tensor.float() for name, tensor in small_parameters("maml++").items()}
    random = torch.Generator().manual_seed(1)
    episodes = [
        {
            "observations": torch.randn(6, 3, generator=random).numpy(),
            "actions": torch.randn(6, 2, generator=random).numpy(),
            "rewards": torch.randn(6, generator=random).numpy() - 12,
        }
        for _ in range(4)
    ]
    mean_return = sum(float(episode["rewards"].sum()) for episode in episodes) / 4
    gate = {GATE: torch.tensor([[1.0, -0.5]]), GATE_STATISTICS: torch.tensor([-60.0, 20.0])}
    factor = 1 - 0.5 * (mean_return + 60) / 20
    assert 0.2 < factor < 3
    without, with_gate = (
        device_controller(NETWORK, "maml++", parameters).adapt(episodes).parameters
        for parameters in (plain, plain | gate)
    )
    for name in NETWORK.parameter_shapes:
        torch.testing.assert_close(
            with_gate[name] - plain[name], factor * (without[name] - plain[name]), rtol=2e-3, atol=2e-6
        )
    assert torch.equal(with_gate["step_sizes"], plain["step_sizes"])


def test_meta_training_learns_the_gate_and_files_it(tmp_path: Path) -> None:
    controller = metarl.train(
        point_family(10),
        gate="return",
        method="maml++",
        iterations=4,
        meta_batch_size=6,
        episodes_per_task=6,
        threads=1,
    )
    assert controller.parameters[GATE].shape == (1, 2)
    assert controller.parameters[GATE_STATISTICS][1] > 0
    controller.save(tmp_path / "gated.safetensors")
    loaded = metarl.load(tmp_path / "gated.safetensors")
    assert torch.equal(loaded.parameters[GATE], controller.parameters[GATE])


def test_a_gated_run_logs_its_gate_and_starts_alike_however_long_it_is(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    words = ("--gate", "return", "--method", "maml++")
    succeeds("train", "navigation-2d", *TINY, *words, "--out", whole)
    succeeds("train", "navigation-2d", *TINY, *words, "--iterations", 1, "--out", parts)
    header, first, *_ = (whole / "progress.csv").read_text().splitlines()
    assert "gate_a_1" in header and "gate_b_1" in header
    assert (parts / "progress.csv").read_text().splitlines() == [header, first]


def test_an_unknown_gate_is_refused() -> None:
    with pytest.raises(ValueError, match="gate"):
        metarl.train("navigation-2d", gate="reward")
