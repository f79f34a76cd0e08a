"""The trust-region step on problems whose solution is known."""

import pytest
import torch

from metarl.rl.trpo import Measured, conjugate_gradient, line_search, natural_step


def positive_definite(size: int, seed: int = 0) -> torch.Tensor:
    root = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return root @ root.mT + torch.eye(size, dtype=torch.float64)


def test_conjugate_gradient_equals_a_dense_solve() -> None:
    matrix = positive_definite(12)
    target = torch.randn(12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    solution, residual = conjugate_gradient(lambda v: matrix @ v, target, steps=24, tolerance=1e-24)
    torch.testing.assert_close(solution, torch.linalg.solve(matrix, target))
    torch.testing.assert_close(residual, target - matrix @ solution, atol=1e-9, rtol=0)


def test_residual_is_right_when_stopped_early() -> None:
    matrix, target = positive_definite(12), torch.ones(12, dtype=torch.float64)
    solution, residual = conjugate_gradient(lambda v: matrix @ v, target, steps=3)
    torch.testing.assert_close(residual, target - matrix @ solution)
    assert residual.norm() > 1e-3


def test_natural_step_reaches_the_limit_of_the_quadratic_model() -> None:
    matrix = positive_definite(8, seed=2)
    gradient = torch.randn(8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    step = natural_step(lambda v: matrix @ v, gradient, max_kl=0.01, cg_iterations=16)
    torch.testing.assert_close(0.5 * step @ matrix @ step, torch.tensor(0.01, dtype=torch.float64))
    direction = torch.linalg.solve(matrix, gradient)
    torch.testing.assert_close(step / step.norm(), direction / direction.norm(), atol=1e-6, rtol=1e-6)


def test_no_gradient_no_step() -> None:
    assert torch.equal(natural_step(lambda v: v, torch.zeros(3), 0.01, 10), torch.zeros(3))


def test_line_search_takes_the_first_length_within_the_limit() -> None:
    def measure(step: torch.Tensor) -> Measured:
        return Measured(loss=-float(step.sum()), kl=float(step.sum()))

    search = line_search(measure, torch.tensor([1.0]), old_loss=0.0, max_kl=0.3, trials=15, ratio=0.5)
    assert search.accepted and search.trials == 3
    assert search.step.item() == search.measured.kl == 0.25


def test_line_search_leaves_out_what_a_quadratic_rules_out() -> None:
    measured_at = []

    def measure(step: torch.Tensor) -> Measured:
        measured_at.append(float(step))
        return Measured(loss=-1.0, kl=0.1 * float(step) ** 2)

    search = line_search(measure, torch.ones(1), old_loss=0.0, max_kl=0.01, trials=15, ratio=0.8)
    # 0.8^5 = 0.328 is still above sqrt(0.1) = 0.316, and 0.8^6 = 0.262 below it.
    assert measured_at == pytest.approx([1.0, 0.8**6]) and search.trials == 2
    assert search.accepted and search.measured.kl < 0.01


NAN = float("nan")


@pytest.mark.parametrize(("measured", "trials"), [(Measured(1, 0), 4), (Measured(-1, 9), 2), (Measured(NAN, NAN), 4)])
def test_line_search_that_finds_nothing_stays(measured: Measured, trials: int) -> None:
    search = line_search(lambda step: measured, torch.ones(2), old_loss=0.5, max_kl=0.01, trials=4, ratio=0.8)
    assert not search.accepted and search.trials == trials
    assert torch.equal(search.step, torch.zeros(2))
    assert search.measured == Measured(0.5, 0.0)
