"""Which numbers of a controller an update should send (DPU: Qu et al., deep partial updating, Sec. 3)."""

from __future__ import annotations

import math
import warnings
from typing import Literal

import torch
from torch import Tensor

from metarl.core.randomness import Purpose, generator
from metarl.policies.attention import PREFIX
from metarl.policies.compression.masks import masks_of, weight_names
from metarl.policies.networks.network import Network, Parameters

Metric = Literal["combined", "global", "local", "random"]
RANDOM_SCORES = 2**31  # the index of their random stream, beyond all iterations


def scored_names(network: Network, parameters: Parameters) -> tuple[str, ...]:
    """Return the names of the matrices that an update sends in part: the weights of layers and of attention modules."""
    attention = sorted(name for name in parameters if name.startswith(PREFIX) and name.endswith(".weight"))
    return (*weight_names(network), *attention)


def contributions(old: Parameters, new: Parameters, local: Parameters | None, metric: Metric) -> Parameters:
    """Return how much each number's change contributes to the lower loss, for the parameters of ``new``.

    Two bounds of the loss after a partial update lead to two scores: the squared change dw^2 (global), from the loss
    of the full update on; and -sum of g d over the steps of the full update, with the gradient g and the increment d
    (local), from the loss before. Each is divided by its sum over all numbers, and they are added (combined).

    Args:
        old: The numbers before the full update.
        new: The numbers after it, of the parameters that are scored.
        local: The local scores; None where the update's steps are not known.
        metric: Which scores to use, none of chance. Without local scores, or if their sum is not positive, they are
            global, which a warning tells.
    """
    squared = {name: (new[name] - old[name]).double().square() for name in new}
    if metric == "global":
        return squared
    total = 0.0 if local is None else math.fsum(float(local[name].double().sum()) for name in new)
    if local is None or not total > 0:
        warnings.warn(
            "the steps of the full update did not lower the loss: the scores are global",
            stacklevel=2,
        )
        return squared
    scores = {name: local[name].double() / total for name in new}
    if metric == "local":
        return scores
    changes = math.fsum(float(each.sum()) for each in squared.values()) or 1.0
    return {name: scores[name] + squared[name] / changes for name in new}


def random_scores(network: Network, parameters: Parameters, seed: int, begun: int = 0) -> Parameters:
    """Return scores that know nothing, of each matrix that an update sends in part: the baseline of the others.

    Args:
        network: The network.
        parameters: Its parameters.
        seed: Seed of the scores.
        begun: The iterations of the server that went before, so that each update has scores of its own.
    """
    random = generator(seed, Purpose.UPDATE, RANDOM_SCORES + begun)
    return {name: torch.from_numpy(random.random(parameters[name].shape)) for name in scored_names(network, parameters)}


def largest(scores: Parameters, ratio: float, kept: Parameters) -> Parameters:
    """Return masks with 1 for the floor(ratio I) largest scores of all I numbers together; ties go to the first.

    Args:
        scores: By name.
        ratio: The share of the numbers.
        kept: Masks of pruned weights, by the weight's name: only kept ones are chosen, and no more than there are.
    """
    flat = torch.cat(
        [torch.where(kept.get(name, torch.ones(())) != 0, each, -torch.inf).flatten() for name, each in scores.items()]
    )
    count = min(math.floor(ratio * len(flat)), int(flat.isfinite().sum()))
    mask = torch.zeros(len(flat))
    mask[torch.sort(flat, descending=True, stable=True).indices[:count]] = 1
    parts = mask.split([each.numel() for each in scores.values()])
    return {name: part.view_as(each) for part, (name, each) in zip(parts, scores.items(), strict=True)}


def update_masks(
    network: Network, old: Parameters, new: Parameters, local: Parameters | None, metric: Metric, ratio: float
) -> Parameters:
    """Return masks of the numbers that an update sends, of each matrix that it sends in part.

    Args:
        network: The network.
        old: The parameters before the full update.
        new: Those after it.
        local: The local scores of ``contributions`` by name, None where they are not known.
        metric: Which scores to use.
        ratio: The share of the numbers of these matrices that is sent.
    """
    names = scored_names(network, old)
    scores = contributions(old, {name: new[name] for name in names}, local, metric)
    return largest(scores, ratio, masks_of(old))


def largest_weights(network: Network, parameters: Parameters, ratio: float) -> Parameters:
    """Return masks with 1 for the largest share ``ratio`` of the weights that ``scored_names`` names."""
    return largest(
        {name: parameters[name].abs() for name in scored_names(network, parameters)}, ratio, masks_of(parameters)
    )


def without_weights(network: Network, parameters: Parameters) -> Parameters:
    """Return the parameters with weights of zero: what a device has of a pruned network before it is sent."""
    return parameters | {name: torch.zeros_like(parameters[name]) for name in scored_names(network, parameters)}


def entropy_bits(count: int, size: int) -> float:
    """Return the least bits that tell which ``count`` of ``size`` numbers change: size S(k) of k = count / size."""
    share = Tensor([count / size, 1 - count / size]).double()
    return float(-size * torch.xlogy(share, share).sum() / math.log(2))
