"""Steps on the bases and on the coordinates of a weight, along the model of its loss."""

from __future__ import annotations

from functools import cache
from itertools import product

import torch
from torch import Tensor

from metarl.compression.bases.moments import Model
from metarl.compression.bases.sketching import positive
from metarl.policies.compression.bases import Bases

DAMPING = 1e-6  # of the curvature of coordinates, as a share of its mean


def basis_step(bases: Bases, model: Model, around: Tensor | None = None) -> Bases:
    """Return the bases after a step that moves signs and coordinates; no group gets or loses a basis.

    First the signs of each number become those that come nearest to AMSGrad's target, which minimizes f because its
    curvature is diagonal. Then the coordinates take the step that minimizes f for the new signs, slightly damped: with
    no gradient they stay where they are. Last, negative coordinates change sign with their bases.

    Args:
        bases: The bases of a weight's groups.
        model: The model of the loss by weights [group, number].
        around: The weights that it is a model around, if they are others than those of ``bases``.
    """
    old = bases.weights if around is None else around
    codes = nearest_codes(bases, old + model.step)
    slope = model.gradient + model.curvature * (Bases(codes, bases.alphas).weights - old)
    moved = bases.alphas - damped_solution(codes, model.curvature, slope)
    return positive(Bases(codes, moved))


def coordinate_step(bases: Bases, model: Model) -> Bases:
    """Return the bases after AMSGrad's step on the coordinates, given the model of the loss by coordinates."""
    moved = torch.where(bases.present, bases.alphas + model.step, bases.alphas)
    return positive(Bases(bases.codes, moved))


def nearest_codes(bases: Bases, target: Tensor) -> Tensor:
    """Return for each number [group, number] the signs whose sum of coordinates comes nearest to its target.

    The sums of all signs are sorted once for each group. A number keeps its signs if none come nearer.
    """
    book = all_signs(bases.alphas.shape[1]).to(target.dtype)
    values, order = torch.matmul(bases.alphas, book.mT).sort(dim=1)
    above = torch.searchsorted(values, target.contiguous()).clamp_max(len(book) - 1)
    below = (above - 1).clamp_min(0)
    from_above, from_below = ((values.gather(1, each) - target).abs() for each in (above, below))
    place = torch.where(from_below < from_above, below, above)
    nearest = book[order.gather(1, place)] * bases.present.unsqueeze(1)
    stays = (bases.weights - target).abs() <= torch.minimum(from_above, from_below)
    return torch.where(stays.unsqueeze(-1), bases.codes, nearest)


def damped_solution(codes: Tensor, curvature: Tensor, slope: Tensor) -> Tensor:
    """Return (B^T H B + mu I)^-1 B^T slope [group, basis]; 0 for the bases that a group lacks.

    mu is DAMPING times the mean of the diagonal of B^T H B.
    """
    exact = codes.double()
    matrix = torch.matmul(exact.mT * curvature.double().unsqueeze(1), exact)
    absent = (codes[:, 0] == 0).double()
    diagonal = matrix.diagonal(dim1=1, dim2=2)
    bases = (1 - absent).sum(dim=1, keepdim=True).clamp_min(1)
    damping = DAMPING * diagonal.sum(dim=1, keepdim=True) / bases
    right = torch.matmul(exact.mT, slope.double().unsqueeze(-1))
    found: Tensor = torch.linalg.solve(matrix + torch.diag_embed(damping + absent), right).squeeze(-1).to(codes.dtype)
    return found


@cache
def all_signs(count: int) -> Tensor:
    """Return the rows of all signs [2^count, count]."""
    return torch.tensor(list(product((-1.0, 1.0), repeat=count)))
