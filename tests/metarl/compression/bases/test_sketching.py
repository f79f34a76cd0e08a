"""Sketched bases by hand, and what must hold of them for any weights."""

import torch

from metarl.compression.bases.sketching import positive, signs, sketched
from metarl.policies.compression.bases import Bases


def weights(groups: int = 20, size: int = 16, seed: int = 0) -> torch.Tensor:
    return torch.randn(groups, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_one_basis_is_the_sign_and_the_mean_size() -> None:
    bases = sketched(torch.tensor([[3.0, -1.0, 0.0, 4.0]]), 1)
    assert bases.codes[0, :, 0].tolist() == [1, -1, 1, 1]
    assert bases.alphas.tolist() == [[2.0]]


def test_two_bases_by_hand() -> None:
    # The residual of [3, 1] behind 2 * [1, 1] is [1, -1], which the second basis takes away exactly.
    bases = sketched(torch.tensor([[3.0, 1.0]]), 8)
    assert bases.codes[0].tolist() == [[1, 1], [1, -1]]
    assert bases.alphas.tolist() == [[2.0, 1.0]]


def test_each_basis_lowers_the_residual_as_the_bound_says() -> None:
    w = weights()
    before = w.square().sum(dim=1)
    for count in range(1, 9):
        bases = sketched(w, count)
        error = (bases.weights - w).square().sum(dim=1)
        assert (error <= before + 1e-12).all()
        assert (error <= w.square().sum(dim=1) * (1 - 1 / 16) ** count).all()
        ranks = torch.linalg.matrix_rank(bases.codes)
        assert (ranks == bases.present.sum(dim=1)).all()
        assert (bases.alphas >= 0).all()
        before = error


def test_a_group_stops_at_the_tolerance_and_at_its_size() -> None:
    bases = sketched(torch.tensor([[0.0, 0.0, 0.0], [2.0, -2.0, 2.0], [1.0, 2.0, 4.0]]), 8)
    assert bases.present.sum(dim=1).tolist() == [0, 1, 3]
    assert torch.allclose(bases.weights, torch.tensor([[0.0, 0.0, 0.0], [2.0, -2.0, 2.0], [1.0, 2.0, 4.0]]))


def test_signs_change_with_negative_coordinates_and_weights_stay_bit_for_bit() -> None:
    random = torch.Generator().manual_seed(1)
    bases = Bases(signs(torch.randn(30, 7, 4, generator=random)), torch.randn(30, 4, generator=random))
    turned = positive(bases)
    assert (bases.alphas < 0).any() and (turned.alphas >= 0).all()
    assert torch.equal(turned.weights, bases.weights)
    assert (turned.codes.abs() == 1).all()
