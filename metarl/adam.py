"""Adam (Kingma and Ba, ICLR 2015, Alg. 1) as a pure function, with its state as named tensors that a file can hold."""

from __future__ import annotations

import torch
from torch import Tensor

from metarl.policies.networks.network import Parameters

FIRST, SECOND, COUNT = "first/", "second/", "count"
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


def initial_moments(parameters: Parameters) -> Parameters:
    """Return the state before the first step on ``parameters``: both moments of each are zero."""
    zeros = {
        prefix + name: torch.zeros_like(tensor) for prefix in (FIRST, SECOND) for name, tensor in parameters.items()
    }
    return zeros | {COUNT: torch.zeros(())}


def adam_step(
    parameters: Parameters, gradients: Parameters, moments: Parameters, rate: float
) -> tuple[Parameters, Parameters]:
    """Take one step of Adam.

    Args:
        parameters: Named tensors, which may be more than those with a gradient.
        gradients: Of the parameters that are to move, by the same names.
        moments: The state before the step, see ``initial_moments``.
        rate: The learning rate.

    Returns:
        The parameters that moved, and the new state.
    """
    count = moments[COUNT] + 1
    new, state = {}, {COUNT: count}
    for name, gradient in gradients.items():
        first = BETA_1 * moments[FIRST + name] + (1 - BETA_1) * gradient
        second = BETA_2 * moments[SECOND + name] + (1 - BETA_2) * gradient**2
        state |= {FIRST + name: first, SECOND + name: second}
        new[name] = parameters[name] - step_lengths(state, name, rate) * first / (1 - BETA_1**count)
    return new, state


def step_lengths(moments: Parameters, name: str, rate: float) -> Tensor:
    """Return what a parameter's mean gradient was multiplied by, element by element, in the step to ``moments``."""
    second = moments[SECOND + name] / (1 - BETA_2 ** moments[COUNT])
    return rate / (second.sqrt() + EPSILON)
