"""The return gate: how far an inner step goes, told by the mean return of its support episodes.

Normalized advantages say which way to change a policy, not how far: with a reward such as minus the distance to a goal,
their slope is the same at any distance. The mean support return knows the distance. In inner step k every step size is
multiplied by g^k = a^k + b^k z, where z = (R - m) / s is the task's mean support return R, standardized by the mean m
and the deviation s over tasks before meta-training. a and b are meta-learned with the policy; they start at 1 and 0,
the step without a gate.
"""

from __future__ import annotations

import torch
from torch import Tensor

from metarl.policies.networks.network import Parameters

GATE = "gate"  # [inner step, 2]: a and b
GATE_STATISTICS = "gate_statistics"  # [2]: m and s; s = 0 until they are measured
LARGEST = 3.0  # no step is longer than this multiple of its step size


def initial_gate(inner_steps: int) -> Parameters:
    """Return a gate that changes nothing, before its statistics are measured."""
    return {GATE: torch.tensor([[1.0, 0.0]]).repeat(inner_steps, 1), GATE_STATISTICS: torch.zeros(2)}


def gate_shapes(inner_steps: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a gate's parameters."""
    return {GATE: (inner_steps, 2), GATE_STATISTICS: (2,)}


def is_measured(parameters: Parameters) -> bool:
    """Return whether the gate, if there is one, knows the statistics of the returns."""
    return GATE not in parameters or bool(parameters[GATE_STATISTICS][1] > 0)


def measure_returns(parameters: Parameters, returns: Tensor) -> Parameters:
    """Return the parameters with the mean and the deviation of ``returns`` [task] as the gate's statistics.

    Returns that are all alike tell no distance: their deviation counts as 1.
    """
    deviation = returns.std(correction=0)
    deviation = deviation if deviation > 0 else torch.ones_like(deviation)
    statistics = torch.stack([returns.mean(), deviation])
    return parameters | {GATE_STATISTICS: statistics.to(parameters[GATE_STATISTICS].dtype)}


def gate_factor(parameters: Parameters, step: int, mean_return: float | None) -> Tensor:
    """Return what multiplies all step sizes of an inner step, between 0 and LARGEST; 1 without a gate.

    Args:
        parameters: One task's meta-parameters; the factor is differentiable with respect to the gate's a and b.
        step: The inner step k, from 0.
        mean_return: The mean return R of the task's support episodes, which counts as data; None for images.

    Returns:
        The factor g^k, a tensor without axes.
    """
    if mean_return is None or GATE not in parameters:
        return torch.ones(())
    mean, deviation = parameters[GATE_STATISTICS].detach()
    standardized = (mean_return - mean) / deviation if deviation > 0 else torch.zeros_like(mean)
    a, b = parameters[GATE][step]
    factor: Tensor = (a + b * standardized).clamp(0.0, LARGEST)
    return factor
