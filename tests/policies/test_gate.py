"""The return gate, against numbers worked by hand."""

from __future__ import annotations

import pytest
import torch

from metarl.policies.gate import (
    GATE,
    GATE_STATISTICS,
    gate_factor,
    initial_gate,
    is_measured,
    measure_returns,
)


def gate(a: float, b: float, mean: float = -60.0, deviation: float = 20.0) -> dict[str, torch.Tensor]:
    return {GATE: torch.tensor([[a, b]]), GATE_STATISTICS: torch.tensor([mean, deviation])}


@pytest.mark.parametrize(
    ("a", "b", "mean_return", "factor"),
    [
        (1.0, 0.0, -80.0, 1.0),
        (1.0, -0.5, -80.0, 1.5),  # z = -1: a task far away
        (1.0, -0.5, -40.0, 0.5),  # z = 1: a task near by
        (1.0, -0.5, -10.0, 0.0),  # 1 - 0.5 * 2.5 is below zero
        (1.0, -0.5, -160.0, 3.0),  # 1 + 0.5 * 5 is above the largest
    ],
)
def test_the_factor_by_hand(a: float, b: float, mean_return: float, factor: float) -> None:
    assert float(gate_factor(gate(a, b), 0, mean_return)) == pytest.approx(factor)


def test_each_inner_step_has_its_own_gate() -> None:
    parameters = gate(1.0, -0.5) | {GATE: torch.tensor([[1.0, -0.5], [0.2, 0.1]])}
    assert float(gate_factor(parameters, 1, -80.0)) == pytest.approx(0.1)


def test_without_a_gate_and_before_it_is_measured_steps_keep_their_length() -> None:
    assert float(gate_factor({}, 0, -1e6)) == 1.0
    untouched = initial_gate(2)
    assert untouched[GATE].tolist() == [[1.0, 0.0], [1.0, 0.0]]
    assert not is_measured(untouched)
    assert float(gate_factor(untouched, 1, -1e6)) == 1.0
    assert is_measured({})


def test_the_statistics_are_those_over_tasks() -> None:
    parameters = measure_returns(initial_gate(1), torch.tensor([-10.0, -20.0, -60.0], dtype=torch.float64))
    mean, deviation = parameters[GATE_STATISTICS].tolist()
    assert mean == pytest.approx(-30.0)
    assert deviation == pytest.approx((1400 / 3) ** 0.5)
    assert is_measured(parameters)


def test_returns_that_are_all_alike_do_not_divide_by_zero() -> None:
    parameters = measure_returns(initial_gate(1), torch.full((3,), 7.0, dtype=torch.float64))
    assert parameters[GATE_STATISTICS].tolist() == [7.0, 1.0]


def test_a_shifted_reward_changes_the_mean_alone() -> None:
    returns = torch.tensor([-10.0, -20.0, -60.0], dtype=torch.float64)
    shifted = measure_returns(gate(1.0, -0.5), returns + 100)
    plain = measure_returns(gate(1.0, -0.5), returns)
    assert float(gate_factor(shifted, 0, -20.0 + 100)) == pytest.approx(float(gate_factor(plain, 0, -20.0)))
