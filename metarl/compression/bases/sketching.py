"""Bases that reconstruct a weight: structured sketching (ALQ, ch. 2 of Qu's thesis)."""

from __future__ import annotations

import torch
from torch import Tensor

from metarl.policies.compression.bases import Bases

TOLERANCE = 1e-6  # of the squared residual, as a share of the squared weight


def sketched(weights: Tensor, most: int, tolerance: float = TOLERANCE) -> Bases:
    """Return bases of each group: signs of what is left, and coordinates by least squares after each.

    The residual is orthogonal to the bases before it, so that its signs are linearly independent of them. A group whose
    residual is within the tolerance takes no further bases. Coordinates that come out negative change sign with their
    bases, and those of zero leave.

    Args:
        weights: The numbers of the groups [group, number].
        most: I_max, the bases of a group at most; no more than its numbers are taken.
        tolerance: Sigma, the squared residual that a group may keep, as a share of its squared weights.
    """
    exact = weights.double()
    limits = tolerance * exact.square().sum(dim=1)
    codes = exact.new_zeros(*exact.shape, 0)
    alphas = exact.new_zeros(len(exact), 0)
    residual = exact
    for _ in range(min(most, exact.shape[1])):
        open_groups = residual.square().sum(dim=1) > limits
        added = torch.where(open_groups[:, None], signs(residual), 0.0)
        codes = torch.cat([codes, added.unsqueeze(-1)], dim=-1)
        alphas = least_squares(codes, exact)
        residual = exact - torch.matmul(codes, alphas.unsqueeze(-1)).squeeze(-1)
    found = positive(Bases(codes, alphas))
    found = Bases(found.codes * (found.alphas != 0).unsqueeze(1), found.alphas)
    return Bases(found.codes.to(weights.dtype), found.alphas.to(weights.dtype))


def signs(numbers: Tensor) -> Tensor:
    """Return +1 where a number is not negative and -1 elsewhere."""
    return torch.where(numbers >= 0, 1.0, -1.0).to(numbers.dtype)


def least_squares(codes: Tensor, weights: Tensor) -> Tensor:
    """Return (B^T B)^-1 B^T w [group, basis]; 0 for the bases that a group lacks."""
    gram = torch.matmul(codes.mT, codes)
    absent = (codes[:, 0] == 0).to(codes.dtype)
    right = torch.matmul(codes.mT, weights.unsqueeze(-1))
    found: Tensor = torch.linalg.solve(gram + torch.diag_embed(absent), right).squeeze(-1)
    return found


def positive(bases: Bases) -> Bases:
    """Return the same weights with no coordinate below zero: a negative one changes sign with its basis."""
    flips = torch.where(bases.alphas < 0, -1.0, 1.0).to(bases.alphas.dtype)
    return Bases(bases.codes * flips.unsqueeze(1), bases.alphas * flips)
