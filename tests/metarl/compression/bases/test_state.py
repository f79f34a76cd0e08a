"""Steps of the whole state: what moves with bases that change sign."""

import torch

from metarl.compression.bases.moments import Moments
from metarl.compression.bases.state import State, coordinates_moved
from metarl.policies.compression.bases import Bases


def test_the_moment_of_a_coordinate_changes_sign_with_its_basis() -> None:
    """A coordinate of 0.001 steps below zero, the other does not: the gradient along the turned basis is minus it."""
    bases = Bases(torch.tensor([[[1.0, 1.0], [1.0, -1.0]]]), torch.tensor([[0.001, 1.0]]))
    moments = Moments(torch.full((1, 2), 0.1), torch.full((1, 2), 0.001), torch.full((1, 2), 0.001), 1)
    state = State({}, {"w": bases}, {}, {}, {"w": moments})
    moved = coordinates_moved(state, rate=0.1)
    assert moved.bases["w"].codes[0].tolist() == [[-1, 1], [-1, -1]]
    assert (moved.bases["w"].alphas > 0).all()
    assert torch.equal(moved.of_alphas["w"].first, torch.tensor([[-0.1, 0.1]]))
