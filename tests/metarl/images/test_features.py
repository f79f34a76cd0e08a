"""How features cluster: invariances, and values that follow from a distribution."""

import math

import pytest
import torch

from metarl.images.features import feature_clustering, hyperplane_variation, linear_cka, variance_ratio
from metarl.policies.networks.conv4 import Conv4
from metarl.policies.networks.mlp import GaussianMLP
from metarl.reptile import center, clustering_gradient, filter_distance

MEASURES = (feature_clustering, hyperplane_variation)


def drawn(apart: float, pairs: int, width: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return Gaussian features of pairs of classes whose middles are drawn with a deviation."""
    random = torch.Generator().manual_seed(seed)

    def features() -> torch.Tensor:
        middles = apart * torch.randn(pairs, 1, width, generator=random, dtype=torch.float64)
        return middles + torch.randn(pairs, 2, width, generator=random, dtype=torch.float64)

    return features(), features()


def test_a_pair_worked_by_hand() -> None:
    first, second = torch.tensor([[[0.0, 1.0], [0.0, -1.0]]]), torch.tensor([[[4.0, 1.0], [4.0, -1.0]]])
    assert feature_clustering(first, second).item() == pytest.approx(4 / 8)  # 4 x 1 within, 2 x 4 between
    assert hyperplane_variation(first, second).item() == 0  # both lines are (-4, 0)
    turned = torch.tensor([[[4.0, -1.0], [4.0, 1.0]]])  # lines (-4, 2) and (-4, -2), 4 apart
    assert hyperplane_variation(first, turned, plain=True).item() == pytest.approx(4 / (2 * math.sqrt(20)), rel=1e-4)


@pytest.mark.parametrize("measure", MEASURES)
def test_moving_turning_and_scaling_all_features_changes_nothing(measure) -> None:
    first, second = drawn(1.0, pairs=20, width=8)
    turn, _ = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    changed = [100 * features @ turn + 3 for features in (first, second)]
    torch.testing.assert_close(measure(*changed), measure(first, second), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("measure", MEASURES)
def test_classes_that_are_points_give_zero_and_classes_that_coincide_no_nan(measure) -> None:
    first, second = torch.ones(1, 2, 3), torch.zeros(1, 2, 3)
    assert measure(first, second).item() == 0
    assert torch.isfinite(measure(first, first)).all()


def test_features_that_do_not_depend_on_the_class() -> None:
    first, second = drawn(0.0, pairs=2000, width=512)
    assert feature_clustering(first, second).mean().item() == pytest.approx(4, abs=0.1)
    assert hyperplane_variation(first, second).mean().item() == pytest.approx(2, abs=0.05)
    assert hyperplane_variation(first, second, plain=True).mean().item() == pytest.approx(1 / math.sqrt(2), abs=0.01)


@pytest.mark.parametrize("apart", [0.3, 1.0, 3.0])
def test_of_gaussian_classes_either_measure_follows_from_the_other(apart: float) -> None:
    pairs = drawn(apart, pairs=2000, width=512)
    clustering = feature_clustering(*pairs).mean().item()
    assert hyperplane_variation(*pairs).mean().item() == pytest.approx(4 * clustering / (4 + clustering), abs=0.02)


def test_a_step_down_the_gradient_lowers_the_clustering() -> None:
    first, second = (each.requires_grad_() for each in drawn(1.0, pairs=5, width=4))
    before = feature_clustering(first, second).mean()
    steps = torch.autograd.grad(before, (first, second))
    after = feature_clustering(*(each - 0.01 * step for each, step in zip((first, second), steps, strict=True)))
    assert after.mean() < before


def test_the_variance_within_and_between_classes_is_all_variance() -> None:
    features = torch.randn(12, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.tensor([3, 1, 7] * 4)
    ratio = variance_ratio(features, labels).item()
    total = ((features - features.mean(dim=0)) ** 2).sum().item() / 12
    middles = torch.stack([features[labels == label].mean(dim=0) for label in (1, 3, 7)])
    between = ((middles - features.mean(dim=0)) ** 2).sum().item() / 3
    assert ratio == pytest.approx((total - between) / between, rel=1e-5)


def test_turned_and_scaled_features_are_alike() -> None:
    random = torch.Generator().manual_seed(0)
    features = torch.randn(40, 6, generator=random, dtype=torch.float64)
    turn, _ = torch.linalg.qr(torch.randn(6, 6, generator=random, dtype=torch.float64))
    assert linear_cka(features, features @ turn * 7 + 2).item() == pytest.approx(1)
    assert 0 <= linear_cka(features, torch.randn(40, 9, generator=random, dtype=torch.float64)).item() < 0.5


@pytest.mark.parametrize("network", [Conv4(side=16, ways=3, width=8), GaussianMLP(3, (4,), 2)])
def test_the_clustering_gradient_is_that_of_half_the_squared_distance(network) -> None:
    random = torch.Generator().manual_seed(0)
    parameters, others = (
        {name: each.double() for name, each in network.initial_parameters(random).items()} for _ in range(2)
    )
    gradient = clustering_gradient(network, parameters, center(network, [others]))
    name = f"{network.layer_names[0]}.weight"
    direction = torch.randn(parameters[name].shape, generator=random, dtype=torch.float64)
    step = 1e-5

    def half(sign: int) -> float:
        return (
            filter_distance(network, parameters | {name: parameters[name] + sign * step * direction}, others) ** 2 / 2
        )

    expected = (half(1) - half(-1)) / (2 * step)
    assert float((gradient[name] * direction).sum()) == pytest.approx(expected, rel=1e-5)
    assert filter_distance(network, others, others) == 0
