"""Trust-region policy optimization (Schulman et al., 2015) on flat vectors, as pure functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]


class Measured(NamedTuple):
    """The surrogate loss at a candidate point, and its KL divergence from the old point."""

    loss: float
    kl: float


class LineSearch(NamedTuple):
    """The accepted step and what was measured there; ``step`` is zero and ``accepted`` False if none was found."""

    step: Tensor
    measured: Measured
    trials: int
    accepted: bool


class Solution(NamedTuple):
    """An approximate solution x of A x = b, and the residual b - A x."""

    solution: Tensor
    residual: Tensor


def conjugate_gradient(product: Product, target: Tensor, steps: int, tolerance: float = 1e-10) -> Solution:
    """Solve A x = b for a positive-definite matrix A, from x = 0.

    Args:
        product: v -> A v.
        target: b, a flat vector.
        steps: Products at most.
        tolerance: Stop when the squared residual falls below it.

    Returns:
        The solution with its residual.
    """
    solution = torch.zeros_like(target)
    residual, direction = target.clone(), target.clone()
    squared = residual @ residual
    for _ in range(steps):
        if squared < tolerance:
            break
        curved = product(direction)
        length = squared / (direction @ curved)
        solution += length * direction
        residual -= length * curved
        previous, squared = squared, residual @ residual
        direction = residual + squared / previous * direction
    return Solution(solution, residual)


def natural_step(product: Product, gradient: Tensor, max_kl: float, cg_iterations: int) -> Tensor:
    """Return the step along F^-1 g that the quadratic model of the KL divergence allows.

    Args:
        product: v -> F v, with the Fisher matrix F.
        gradient: g, a flat vector.
        max_kl: Limit of the divergence.
        cg_iterations: Conjugate-gradient iterations at most.

    Returns:
        The step to subtract; zero if the gradient is zero, or if the model finds no positive curvature along it.
    """
    direction, residual = conjugate_gradient(product, gradient, cg_iterations)
    curvature = direction @ (gradient - residual)
    if not curvature > 0:
        return torch.zeros_like(gradient)
    return direction * torch.sqrt(2 * max_kl / curvature)


def line_search(
    measure: Callable[[Tensor], Measured], step: Tensor, old_loss: float, max_kl: float, trials: int, ratio: float
) -> LineSearch:
    """Shorten a step until the loss improves within the KL limit.

    A length whose KL divergence is too large also tells how much too long it is, for the divergence grows with its
    square: the powers that this rules out are not measured.

    Args:
        measure: Measures the loss and the divergence after a step.
        step: The longest step, a flat vector.
        old_loss: The loss without a step.
        max_kl: Limit of the divergence.
        trials: The step is shortened by powers of ``ratio`` below this number.
        ratio: Factor from one length to the next.

    Returns:
        The first step that is accepted, or none.
    """
    power = measured_lengths = 0
    while power < trials:
        candidate = step * ratio**power
        measured = measure(candidate)
        measured_lengths += 1
        if measured.loss < old_loss and measured.kl <= max_kl:
            return LineSearch(candidate, measured, measured_lengths, accepted=True)
        last = power == trials - 1
        power += powers_to_skip(measured.kl, max_kl, ratio)
        power = power if last else min(power, trials - 1)
    return LineSearch(torch.zeros_like(step), Measured(old_loss, 0.0), measured_lengths, accepted=False)


def powers_to_skip(kl: float, max_kl: float, ratio: float) -> int:
    """Return the least power of ``ratio``, from 1, that brings ``kl`` within the limit if it falls with the square."""
    if not max_kl < kl < math.inf:
        return 1
    return max(1, math.ceil(math.log(max_kl / kl) / (2 * math.log(ratio))))
