"""Which numbers an update sends: by hand, against random choices, and on a quadratic loss."""

import math

import pytest
import torch
from torch import Tensor

from metarl.fleet.partial_update import added
from metarl.fleet.scores import contributions, largest, scored_names, update_masks
from metarl.policies.loading import load_controller

OLD = {"a.weight": torch.zeros(1, 2), "b.weight": torch.zeros(2)}
NEW = {"a.weight": torch.tensor([[1.0, -3.0]]), "b.weight": torch.tensor([2.0, 0.0])}
LOCAL = {"a.weight": torch.tensor([[4.0, 1.0]]), "b.weight": torch.tensor([-1.0, 0.0])}


def flat(scores: dict[str, Tensor]) -> list[float]:
    return torch.cat([each.flatten() for each in scores.values()]).tolist()


def test_scores_worked_out_by_hand() -> None:
    assert flat(contributions(OLD, NEW, LOCAL, "global")) == [1, 9, 4, 0]
    assert flat(contributions(OLD, NEW, LOCAL, "local")) == [1, 0.25, -0.25, 0]
    expected = [1 / 14 + 1, 9 / 14 + 0.25, 4 / 14 - 0.25, 0]
    assert flat(contributions(OLD, NEW, LOCAL, "combined")) == pytest.approx(expected)


@pytest.mark.parametrize("local", [None, {name: -each for name, each in LOCAL.items()}])
def test_a_loss_that_did_not_fall_leaves_the_global_scores(local) -> None:
    with pytest.warns(UserWarning, match="the scores are global"):
        assert flat(contributions(OLD, NEW, local, "combined")) == [1, 9, 4, 0]


def test_the_floor_of_the_share_is_chosen_over_all_layers_and_ties_go_to_the_first() -> None:
    scores = {"a": torch.tensor([[1.0, 2.0], [2.0, 0.0]]), "b": torch.tensor([2.0])}
    assert flat(largest(scores, 0.59, {})) == [0, 1, 1, 0, 0]
    assert flat(largest(scores, 0.6, {})) == [0, 1, 1, 0, 1]
    assert flat(largest(scores, 0.0, {})) == [0] * 5
    assert flat(largest(scores, 1.0, {})) == [1] * 5
    assert flat(largest(scores, 0.6, {"a": torch.tensor([[1.0, 0.0], [1.0, 1.0]])})) == [1, 0, 1, 0, 1]
    assert flat(largest(scores, 1.0, {"a": torch.zeros(2, 2)})) == [0, 0, 0, 0, 1]


def test_masks_nest_and_do_not_depend_on_the_scale_of_a_score() -> None:
    random = torch.Generator().manual_seed(0)
    old = {"w": torch.zeros(500)}
    new, local = ({"w": torch.randn(500, generator=random)} for _ in range(2))
    local["w"] = local["w"] + 0.5
    before = torch.zeros(500)
    for ratio in (0.01, 0.05, 0.2, 0.7):
        mask = largest(contributions(old, new, local, "combined"), ratio, {})["w"]
        assert mask.sum() == math.floor(ratio * 500) and not ((before == 1) & (mask == 0)).any()
        scaled = contributions(old, {"w": 8 * new["w"]}, {"w": 4 * local["w"]}, "combined")
        assert torch.equal(largest(scaled, ratio, {})["w"], mask)
        before = mask


def test_no_other_choice_of_as_many_rewinds_less() -> None:
    random = torch.Generator().manual_seed(0)
    old, new = {"w": torch.zeros(200)}, {"w": torch.randn(200, generator=random)}
    mask = largest(contributions(old, new, None, "global"), 0.1, {})["w"]

    def rewound(chosen: Tensor) -> float:
        return float((new["w"] * (1 - chosen)).square().sum())

    for _ in range(50):
        other = torch.zeros(200)
        other[torch.randperm(200, generator=random)[:20]] = 1
        assert rewound(mask) < rewound(other)


def test_local_scores_of_short_steps_are_the_fall_of_a_quadratic_loss() -> None:
    random = torch.Generator().manual_seed(0)
    root = torch.randn(6, 6, generator=random, dtype=torch.float64)
    matrix = root @ root.mT / 6

    def loss(x: Tensor) -> float:
        return float(x @ matrix @ x / 2)

    start = x = torch.randn(6, generator=random, dtype=torch.float64)
    scores: dict[str, Tensor] | None = {}
    for _ in range(2000):
        gradient = matrix @ x
        moved = x - 1e-3 * gradient
        scores = added(scores, {"x": gradient}, {"x": x}, {"x": moved})
        x = moved
    assert scores is not None
    assert float(scores["x"].sum()) == pytest.approx(loss(start) - loss(x), rel=1e-2)
    assert added(scores, {}, {"x": x}, {"x": x}) is None


def test_weights_of_layers_and_of_attention_are_sent_in_part() -> None:
    controller = load_controller("navigation-2d/p-meta")
    names = scored_names(controller.network, controller.parameters)
    assert names[:3] == ("layer1.weight", "layer2.weight", "layer3.weight")
    assert {name.rsplit(".", 1)[0] for name in names[3:]} == {
        f"attention.layer{layer}.{side}.fc{fc}" for layer in (1, 2) for side in ("forward", "backward") for fc in (1, 2)
    }
    new = {name: tensor + 1 for name, tensor in controller.parameters.items()}
    masks = update_masks(controller.network, controller.parameters, new, None, "global", 0.25)
    total = sum(controller.parameters[name].numel() for name in names)
    assert sum(int(mask.sum()) for mask in masks.values()) == total // 4
