"""Steps on bases and coordinates, against brute force and against what the quadratic model promises."""

from itertools import product

import torch

from metarl.compression.bases.moments import Model, Moments, model_of, no_moments, transported
from metarl.compression.bases.sketching import sketched
from metarl.compression.bases.steps import basis_step, coordinate_step, nearest_codes
from metarl.policies.compression.bases import Bases


def random_bases(groups: int, size: int, most: int, seed: int = 0) -> Bases:
    """Bases of random weights, some groups of which lack the last one."""
    random = torch.Generator().manual_seed(seed)
    bases = sketched(torch.randn(groups, size, generator=random, dtype=torch.float64), most)
    kept = torch.ones_like(bases.alphas, dtype=torch.bool)
    kept[::3, -1] = False
    return Bases(bases.codes * kept.unsqueeze(1), bases.alphas * kept)


def random_model(bases: Bases, seed: int = 0, rate: float = 0.1) -> Model:
    random = torch.Generator().manual_seed(seed)
    moments = no_moments(bases.weights)
    for _ in range(5):
        moments = moments.after(torch.randn(bases.weights.shape, generator=random, dtype=torch.float64))
    return model_of(moments, rate)


def test_signs_are_those_of_brute_force() -> None:
    bases = random_bases(groups=50, size=3, most=2)
    model = random_model(bases)
    found = nearest_codes(bases, bases.weights + model.step)
    values = model.increase(Bases(found, bases.alphas).weights - bases.weights).sum(dim=1)
    for group in range(50):
        alphas = bases.alphas[group]
        least = min(
            float(
                model.increase(
                    (torch.tensor(each, dtype=torch.float64).reshape(3, 2) * bases.present[group]) @ alphas
                    - bases.weights
                )[group].sum()
            )
            for each in product((-1.0, 1.0), repeat=6)
        )
        assert abs(float(values[group]) - least) < 1e-12


def test_neither_half_of_a_step_raises_the_model_of_the_loss() -> None:
    bases = random_bases(groups=200, size=20, most=4)
    for seed in range(20):
        model, old = random_model(bases, seed), bases.weights
        codes = nearest_codes(bases, old + model.step)
        first = model.increase(Bases(codes, bases.alphas).weights - old).sum(dim=1)
        moved = basis_step(bases, model)
        second = model.increase(moved.weights - old).sum(dim=1)
        assert (first <= 1e-12).all()
        assert (second <= first + 1e-12).all()
        assert (moved.alphas >= 0).all()
        assert torch.equal(moved.present, bases.present)
        assert torch.equal(moved.codes.abs(), bases.present.unsqueeze(1).expand_as(moved.codes).double())
        bases = moved


def test_without_a_gradient_nothing_moves_however_flat_the_loss_is() -> None:
    bases = random_bases(groups=30, size=10, most=3)
    flat = model_of(no_moments(bases.weights).after(torch.zeros_like(bases.weights)), 0.1)
    moved = basis_step(bases, flat)
    assert torch.equal(moved.codes, bases.codes)
    assert torch.allclose(moved.alphas, bases.alphas, rtol=0, atol=1e-14)


def test_signs_stay_where_others_come_as_near() -> None:
    # Two equal coordinates: +1 -1 and -1 +1 give the same number.
    for row in ([1.0, -1.0], [-1.0, 1.0]):
        bases = Bases(torch.tensor([[row]]), torch.tensor([[0.5, 0.5]]))
        assert nearest_codes(bases, torch.tensor([[0.1]])).tolist() == [[row]]


def test_the_model_is_that_of_amsgrad_by_hand() -> None:
    moments = no_moments(torch.zeros(1, dtype=torch.float64)).after(torch.tensor([2.0], dtype=torch.float64))
    model = model_of(moments, rate=0.1)
    # The first step of Adam with g / H is the learning rate, whatever the gradient.
    assert torch.allclose(model.step, torch.tensor([-0.1], dtype=torch.float64), atol=1e-8)
    smaller = moments.after(torch.tensor([0.0], dtype=torch.float64))
    assert smaller.largest == moments.largest and smaller.second < moments.second
    curvature = (0.001 * 4.0) ** 0.5 / (1 - 0.999**2) ** 0.5
    assert abs(float(model_of(smaller, 0.1).curvature) - curvature) < 1e-6


def test_a_coordinate_moves_by_amsgrads_step_and_missing_ones_stay() -> None:
    bases = random_bases(groups=6, size=10, most=3)
    gradient = bases.along(torch.randn(6, 10, generator=torch.Generator().manual_seed(3), dtype=torch.float64))
    model = model_of(no_moments(bases.alphas).after(gradient), rate=1e-3)
    moved = coordinate_step(bases, model)
    expected = (bases.alphas - 1e-3 * gradient.sign()) * bases.present
    assert torch.allclose(moved.alphas, expected.abs(), atol=1e-8)


def test_transported_moments_are_the_diagonal() -> None:
    bases = random_bases(groups=9, size=12, most=3)
    random = torch.Generator().manual_seed(4)
    first, second, largest = torch.rand(3, 9, 12, generator=random, dtype=torch.float64)
    carried = transported(Moments(first, second, largest, 7), bases)
    assert carried.count == 7
    for group in range(9):
        codes = bases.codes[group]
        assert torch.allclose(carried.first[group], codes.T @ first[group])
        for sent, got in ((second, carried.second), (largest, carried.largest)):
            assert torch.allclose(got[group], (codes.T @ torch.diag(sent[group]) @ codes).diagonal())


def test_gradients_of_coordinates_are_those_of_autograd() -> None:
    bases = random_bases(groups=5, size=8, most=3)
    alphas = bases.alphas.clone().requires_grad_()
    weights = Bases(bases.codes, alphas).weights
    loss = (weights.square() * torch.arange(8)).sum()
    of_weights, of_alphas = torch.autograd.grad(loss, [weights, alphas])
    assert torch.allclose(bases.along(of_weights), of_alphas)
