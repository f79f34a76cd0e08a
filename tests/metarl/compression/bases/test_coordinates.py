"""Removal of coordinates: the cheapest go, exactly as many as a budget asks for."""

import pytest
import torch

from metarl.compression.bases.coordinates import cheapest, removal_costs, without_cheapest
from metarl.compression.bases.moments import Model, model_of, no_moments
from metarl.compression.bases.sketching import sketched
from metarl.policies.compression.bases import Bases


def weights_and_models(*sizes: tuple[int, int]) -> tuple[dict[str, Bases], dict[str, Model]]:
    random = torch.Generator().manual_seed(0)
    bases, models = {}, {}
    for number, (groups, size) in enumerate(sizes):
        each = sketched(torch.randn(groups, size, generator=random, dtype=torch.float64), 4)
        gradient = torch.randn(each.alphas.shape, generator=random, dtype=torch.float64)
        bases[f"w{number}"] = each
        models[f"w{number}"] = model_of(no_moments(each.alphas).after(gradient), 1e-3)
    return bases, models


def signs(bases: dict[str, Bases]) -> int:
    return sum(each.coordinates * each.size for each in bases.values())


def test_costs_are_those_of_the_model_by_hand() -> None:
    bases = Bases(torch.tensor([[[1.0, 0.0]]]), torch.tensor([[2.0, 0.0]]))
    model = Model(torch.tensor([[0.5, 0.5]]), torch.tensor([[3.0, 3.0]]))
    assert removal_costs(bases, model).tolist() == [[-1.0 + 6.0, torch.inf]]


def test_the_cheapest_go_and_the_others_stay_bit_for_bit() -> None:
    bases, models = weights_and_models((10, 16), (6, 16))
    for budget in (900, 500, 160, 16):
        left = without_cheapest(bases, models, budget)
        assert signs(left) == budget // 16 * 16
        gone, kept = [], []
        for name, each in left.items():
            costs, before = removal_costs(bases[name], models[name]), bases[name]
            gone.append(costs[before.present & ~each.present])
            kept.append(costs[each.present])
            stays = each.present
            assert torch.equal(each.alphas[stays], before.alphas[stays])
            assert torch.equal(each.codes.mT[stays], before.codes.mT[stays])
            assert not each.alphas[~stays].any() and not each.codes.mT[~stays].any()
        assert torch.cat(gone).max() <= torch.cat(kept).min()
        bases = left


def test_groups_of_different_sizes_come_within_the_smallest_of_a_budget() -> None:
    bases, models = weights_and_models((10, 17), (6, 100))
    for budget in range(900, 400, -37):
        assert budget - 17 < signs(without_cheapest(bases, models, budget)) <= budget


def test_before_the_last_removal_a_group_too_large_waits() -> None:
    costs, sizes = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([10, 100, 10])
    assert cheapest(costs, sizes, signs=100, last=False).tolist() == [True, False, False]
    assert cheapest(costs, sizes, signs=100, last=True).tolist() == [True, False, True]
    # 15 signs are left to remove where 10 went already: a group of 20 is just large enough.
    assert cheapest(costs, torch.tensor([10, 100, 20]), signs=105, last=True).tolist() == [True, False, True]


@pytest.mark.parametrize(("rank", "gone"), [("loss", "small"), ("per-bit", "large")])
def test_the_rank_per_bit_prefers_large_groups(rank: str, gone: str) -> None:
    one = torch.ones(1, 1)
    bases = {
        "small": Bases(torch.ones(1, 10, 1), 2 * one),
        "large": Bases(torch.ones(1, 100, 1), 3 * one),
    }
    models = {name: Model(0 * one, one) for name in bases}  # costs of 2 and 4.5
    left = without_cheapest(bases, models, 100 if gone == "small" else 10, rank, last=False)  # type: ignore[arg-type]
    assert {name for name, each in left.items() if not each.coordinates} == {gone}
