"""Normalized observations: a policy sees each number of an observation minus its mean, over its deviation.

Mean and deviation are running statistics over all observations of a meta-training, frozen into the controller's file.
``fold`` turns them into the first layer's weights, for a device that runs the policy and does not adapt it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from metarl.core.errors import Refusal
from metarl.policies.networks.layers import Layer
from metarl.policies.networks.network import Parameters

MEAN, STD, COUNT = "observation_mean", "observation_std", "observation_count"
LIMIT = 10.0  # normalized numbers are clipped to +- this, as by Stable-Baselines3's VecNormalize
SMALLEST = 1e-4  # the deviation of a number that never changes


def initial_normalization(size: int) -> Parameters:
    """Return the statistics before any observation [size] was seen: mean 0 and deviation 1."""
    return {MEAN: torch.zeros(size), STD: torch.ones(size), COUNT: torch.zeros(1)}


def normalization_shapes(size: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the statistics of observations [size]."""
    return {MEAN: (size,), STD: (size,), COUNT: (1,)}


def check_normalization(parameters: Parameters) -> None:
    """Raise Refusal if only some of the statistics are there, or a deviation is not above zero."""
    missing = [name for name in (MEAN, STD, COUNT) if name not in parameters]
    if len(missing) in (1, 2):
        raise Refusal(
            f"the parameter '{missing[0]}' is missing: normalized observations need {MEAN}, {STD} and {COUNT}"
        )
    if not missing and not bool((parameters[STD] >= SMALLEST).all()):
        raise Refusal(f"the parameter '{STD}' must be at least {SMALLEST:g} everywhere")


def normalize(parameters: Parameters, observations: Tensor) -> Tensor:
    """Return the observations [..., sample, observation] as the policy sees them; unchanged without statistics.

    The statistics may have a leading task axis, as the observations then have.
    """
    if MEAN not in parameters:
        return observations
    mean, std = (parameters[name].detach().unsqueeze(-2) for name in (MEAN, STD))
    return ((observations - mean) / std).clamp(-LIMIT, LIMIT)


def observe(parameters: Parameters, observations: Tensor) -> Parameters:
    """Return the parameters with statistics that count new observations [sample, observation], too.

    Two groups' means and variances are merged as by Chan, Golub and LeVeque (The American Statistician 37(3), 1983).
    """
    if MEAN not in parameters or not len(observations):
        return parameters
    before, seen = parameters[COUNT].double(), float(len(observations))
    total = before + seen
    new = observations.double()
    shift = new.mean(dim=0) - parameters[MEAN].double()
    mean = parameters[MEAN].double() + shift * seen / total
    # Before the first observation the deviation is 1 by definition and counts for nothing.
    squares = (
        parameters[STD].double() ** 2 * before + new.var(dim=0, correction=0) * seen + shift**2 * before * seen / total
    )
    std = (squares / total).sqrt().clamp_min(SMALLEST)
    return parameters | {MEAN: mean.float(), STD: std.float(), COUNT: total.float()}


def fold(parameters: Parameters, first: Layer) -> Parameters:
    """Return parameters without statistics whose ``first`` linear layer takes observations as they are.

    The outputs are the same wherever no normalized number is clipped. An adapted first layer is not: its gradient
    depends on what the layer sees.
    """
    if MEAN not in parameters:
        return parameters
    weight, bias = parameters[f"{first.name}.weight"], parameters[f"{first.name}.bias"]
    scaled = weight / parameters[STD]
    folded = {f"{first.name}.weight": scaled, f"{first.name}.bias": bias - scaled @ parameters[MEAN]}
    return {name: tensor for name, tensor in parameters.items() if name not in (MEAN, STD, COUNT)} | folded
