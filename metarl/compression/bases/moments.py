"""The model of the loss around the present weights, from the moments of its gradients (AMSGrad, diagonal)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metarl.adam import BETA_1, BETA_2, EPSILON
from metarl.policies.compression.bases import Bases


@dataclass(frozen=True)
class Moments:
    """Running means of gradients d and of their squares, and the largest of the latter."""

    first: Tensor
    second: Tensor
    largest: Tensor
    count: int = 0

    def after(self, gradient: Tensor) -> Moments:
        """Return the moments after one more gradient."""
        first = BETA_1 * self.first + (1 - BETA_1) * gradient
        second = BETA_2 * self.second + (1 - BETA_2) * gradient.square()
        return Moments(first, second, torch.maximum(self.largest, second), self.count + 1)


@dataclass(frozen=True)
class Model:
    """f(x) = g (x - x0) + 1/2 (x - x0)^T H (x - x0), what a change from x0 adds to the loss; H is diagonal."""

    gradient: Tensor  # g = a m / (1 - b1^t)
    curvature: Tensor  # H = (sqrt(v_max) + eps) / sqrt(1 - b2^t)

    def increase(self, change: Tensor) -> Tensor:
        """Return what a change of each number adds to the loss."""
        return self.gradient * change + self.curvature * change.square() / 2

    @property
    def step(self) -> Tensor:
        """The change that lowers f most, AMSGrad's step."""
        return -self.gradient / self.curvature


def no_moments(like: Tensor) -> Moments:
    """Return the moments before the first gradient."""
    return Moments(torch.zeros_like(like), torch.zeros_like(like), torch.zeros_like(like))


def model_of(moments: Moments, rate: float) -> Model:
    """Return the model that the moments of at least one gradient make at a learning rate."""
    gradient = rate * moments.first / (1 - BETA_1**moments.count)
    curvature = (moments.largest.sqrt() + EPSILON) / (1 - BETA_2**moments.count) ** 0.5
    return Model(gradient, curvature)


def transported(moments: Moments, bases: Bases) -> Moments:
    """Return the moments of the coordinates [group, basis] that follow from those of the weights [group, number].

    m_alpha = B^T m, and v_alpha of each basis is the sum of v, which is the diagonal of B^T diag(v) B.
    """
    present = bases.present.to(bases.alphas.dtype)
    second, largest = (each.sum(dim=1, keepdim=True) * present for each in (moments.second, moments.largest))
    return Moments(bases.along(moments.first), second, largest, moments.count)
