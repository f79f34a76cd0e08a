"""Costs and updates of removals against quadratic forms, brute force and least squares, in float64."""

from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from metarl.compression.removal import damped, removal_scores, second_moments, smallest, updated_weight

INPUTS = 5


def problem(seed: int, outputs: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    inputs = torch.randn(40, INPUTS, generator=random, dtype=torch.float64) @ torch.randn(
        INPUTS, INPUTS, generator=random, dtype=torch.float64
    )
    weight = torch.randn(outputs, INPUTS + 1, generator=random, dtype=torch.float64)
    return inputs, weight, damped(second_moments(inputs), 1e-9)


def cost(weight: Tensor, changed: Tensor, moments: Tensor) -> float:
    difference = (changed - weight)[0]
    return 0.5 * float(difference @ moments[0] @ difference)


def everything(weight: Tensor) -> Tensor:
    return torch.ones(len(weight), INPUTS, dtype=torch.bool)


def kept_but(*removed: int) -> Tensor:
    kept = torch.ones(1, INPUTS, dtype=torch.bool)
    kept[0, list(removed)] = False
    return kept


def test_the_moments_are_half_the_hessian_of_the_layers_squared_error() -> None:
    inputs, weight, _ = problem(0)
    samples = torch.cat([inputs, torch.ones(len(inputs), 1, dtype=torch.float64)], dim=1)

    def error(row: Tensor) -> Tensor:
        return (samples @ (row - weight[0])).square().mean()

    hessian = torch.autograd.functional.hessian(error, torch.zeros_like(weight[0]))
    torch.testing.assert_close(second_moments(inputs)[0], hessian / 2)


def test_the_moments_follow_from_updates_of_rank_one() -> None:
    """(damping I + H)^-1 by P - P z z^T P / (N + z^T P z) for one sample after the other (ANP, eq. 22)."""
    inputs, _, _ = problem(1)
    damping, count = 0.3, len(inputs)
    inverse = torch.eye(INPUTS + 1, dtype=torch.float64) / damping
    for row in inputs[torch.randperm(count, generator=torch.Generator().manual_seed(0))]:
        sample = torch.cat([row, torch.ones(1, dtype=torch.float64)])
        product = inverse @ sample
        inverse = inverse - torch.outer(product, product) / (count + sample @ product)
    direct = torch.linalg.inv(second_moments(inputs)[0] + damping * torch.eye(INPUTS + 1, dtype=torch.float64))
    torch.testing.assert_close(inverse, direct, rtol=1e-9, atol=1e-9)


def test_weights_of_samples_count_like_copies() -> None:
    inputs, _, _ = problem(2)
    twice = torch.ones(len(inputs), 2, dtype=torch.float64)
    twice[:3, 1] = 2
    doubled = torch.cat([inputs, inputs[:3]])
    moments = second_moments(inputs, twice)
    torch.testing.assert_close(moments[0], second_moments(inputs)[0])
    torch.testing.assert_close(moments[1] * len(inputs), second_moments(doubled)[0] * len(doubled))


@pytest.mark.parametrize("removed", range(INPUTS))
def test_the_single_update_costs_its_score_and_no_other_change_is_cheaper(removed: int) -> None:
    _, weight, moments = problem(3)
    score = float(removal_scores(weight, everything(weight), moments, "literal")[0, removed])
    updated = updated_weight(weight, kept_but(removed), moments, "literal", everything(weight))
    assert updated[0, removed] == 0
    assert cost(weight, updated, moments) == pytest.approx(score, rel=1e-9)
    random = torch.Generator().manual_seed(removed)
    for _ in range(200):
        other = weight + torch.randn(weight.shape, generator=random, dtype=torch.float64)
        other[0, removed] = 0
        assert cost(weight, other, moments) >= score


@given(seed=st.integers(0, 1000), count=st.integers(1, INPUTS - 1))
def test_the_exact_removal_pays_the_joint_cost_of_its_set(seed: int, count: int) -> None:
    _, weight, moments = problem(seed)
    scores = removal_scores(weight, everything(weight), moments, "exact")
    (kept,) = smallest([scores], count)
    exact = updated_weight(weight, kept, moments, "exact", everything(weight))
    literal = updated_weight(weight, kept, moments, "literal", everything(weight))
    paid = cost(weight, exact, moments)
    assert paid <= cost(weight, literal, moments) + 1e-12
    # Least squares on the kept weights, by another formulation: a square root of H as a design matrix.
    root = torch.linalg.cholesky(moments[0]).mT
    stays = torch.cat([kept[0], torch.tensor([True])])
    solution = torch.linalg.lstsq(root[:, stays], root @ weight[0]).solution
    torch.testing.assert_close(exact[0, stays], solution, rtol=1e-6, atol=1e-8)
    cheapest = min(
        cost(weight, updated_weight(weight, kept_but(*each), moments, "exact", everything(weight)), moments)
        for each in combinations(range(INPUTS), count)
    )
    assert paid >= cheapest - 1e-12


@given(seed=st.integers(0, 1000))
def test_exact_scores_are_the_highest_cost_paid_by_a_greedy_removal(seed: int) -> None:
    """Each step, remove the weight that raises the cost of the whole set least: by least squares from the start."""
    _, weight, moments = problem(seed)
    removed: list[int] = []
    expected, joint, paid = torch.zeros(INPUTS, dtype=torch.float64), 0.0, 0.0
    while len(removed) < INPUTS:
        costs = {}
        for each in set(range(INPUTS)) - set(removed):
            kept = kept_but(*removed, each)
            costs[each] = cost(weight, updated_weight(weight, kept, moments, "exact", everything(weight)), moments)
        cheapest = min(costs, key=costs.__getitem__)
        paid = max(paid, costs[cheapest] - joint)
        removed, joint, expected[cheapest] = [*removed, cheapest], costs[cheapest], paid
    scores = removal_scores(weight, everything(weight), moments, "exact")[0]
    torch.testing.assert_close(scores, expected, rtol=1e-6, atol=1e-9)


def test_a_copy_of_an_input_and_a_dead_input_go_first_and_the_output_stays() -> None:
    inputs, weight, _ = problem(5)
    inputs = torch.cat([inputs[:, :3], inputs[:, :1], torch.zeros(len(inputs), 1, dtype=torch.float64)], dim=1)
    moments = damped(second_moments(inputs), 1e-9)
    scores = removal_scores(weight, everything(weight), moments, "exact")
    (kept,) = smallest([scores], 2)
    assert not kept[0, 4]
    assert kept[0].tolist() in ([False, True, True, True, False], [True, True, True, False, False])
    updated = updated_weight(weight, kept, moments, "exact", everything(weight))
    samples = torch.cat([inputs, torch.ones(len(inputs), 1, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(samples @ updated[0], samples @ weight[0], rtol=1e-5, atol=1e-5)


def test_what_is_removed_stays_removed() -> None:
    _, weight, moments = problem(6, outputs=3)
    before = everything(weight)
    before[0, 1] = before[2, 4] = False
    weight[:, :-1][~before] = 0
    for removal in ("exact", "literal"):
        scores = removal_scores(weight, before, moments, removal)
        (kept,) = smallest([scores], 5)
        assert not (kept & ~before).any()
        assert kept.sum() == before.numel() - 5
        updated = updated_weight(weight, kept, moments, removal, before)
        assert not updated[:, :-1][~kept].any()


def test_outputs_are_judged_alone() -> None:
    _, weight, moments = problem(7, outputs=4)
    together = removal_scores(weight, everything(weight), moments, "exact")
    alone = [removal_scores(row[None], everything(row[None]), moments, "exact")[0] for row in weight]
    torch.testing.assert_close(together, torch.stack(alone))


def test_ties_go_by_position() -> None:
    kept = smallest([torch.zeros(1, 3), torch.zeros(2, 1)], 2)
    assert [each.tolist() for each in kept] == [[[False, False, True]], [[True], [True]]]
