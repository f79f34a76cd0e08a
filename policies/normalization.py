"""Normalized observations: a policy sees each number of an observation minus its mean, over its deviation.

Mean and deviation are running statistics over all observations of a meta-training, frozen into the controller's file.
``fold`` turns them into the first layer's weights, for a device that runs the policy and does not adapt it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

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


class Seen(NamedTuple):
    """What a group of observations adds to the statistics, in float64."""

    observations: int
    mean: Tensor  # [observation]
    squares: Tensor  # [observation], the sum of squared deviations from the mean


def seen_in(observations: Tensor) -> Seen:
    """Return what observations [sample, observation] add to the statistics."""
    count = len(observations)
    new = observations.double() if count else torch.zeros(1, observations.shape[1], dtype=torch.float64)
    return Seen(count, new.mean(dim=0), new.var(dim=0, correction=0) * count)


def merged(groups: Sequence[Seen]) -> Seen:
    """Return groups of observations as one, merged one after the other (Chan, Golub and LeVeque, see ``observe``)."""
    count, mean, squares = groups[0]
    for group in groups[1:]:
        total = count + group.observations
        if not total:
            continue
        shift = group.mean - mean
        mean = mean + shift * group.observations / total
        squares = squares + group.squares + shift**2 * count * group.observations / total
        count = total
    return Seen(count, mean, squares)


def observe(parameters: Parameters, new: Seen) -> Parameters:
    """Return the parameters with statistics, if they have any, that count new observations, too.

    Two groups' means and variances are merged as by Chan, Golub and LeVeque (The American Statistician 37(3), 1983).
    """
    if MEAN not in parameters or not new.observations:
        return parameters
    before, count = parameters[COUNT].double(), float(new.observations)
    total = before + count
    shift = new.mean - parameters[MEAN].double()
    mean = parameters[MEAN].double() + shift * count / total
    # Before the first observation the deviation is 1 by definition and counts for nothing.
    squares = parameters[STD].double() ** 2 * before + new.squares + shift**2 * before * count / total
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
