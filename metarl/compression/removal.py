"""Which weights of a layer to remove, and how those that stay make up for it (ANP, CIKM 2021, Sec. 4).

For one output of a layer with weights w (its bias last) and inputs z (a 1 last), removing weights by a change d costs
1/2 d^T H d with H = mean(z z^T): the mean squared change of the output. All functions work on all outputs of a layer at
once, in float64. Moments are [output, input + 1, input + 1], or [1, input + 1, input + 1] if the same for all. Without
a bias, weights and moments lack their last entries.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

Removal = Literal["exact", "literal"]


def second_moments(inputs: Tensor, sensitivities: Tensor | None = None, bias: bool = True) -> Tensor:
    """Return H with a 1 appended to each input (ANP, eq. 21): [1 or output, input + 1, input + 1].

    Args:
        inputs: z_{l-1} [sample, input].
        sensitivities: Weight of each sample for each output [sample, output]; all 1 if left out.
        bias: Whether to append the 1, which a layer without bias does not take.
    """
    samples = (torch.cat([inputs, torch.ones_like(inputs[:, :1])], dim=1) if bias else inputs).double()
    if sensitivities is None:
        return (samples.mT @ samples / len(samples)).unsqueeze(0)
    products = [samples.mT @ (samples * each[:, None]) for each in sensitivities.double().unbind(dim=1)]
    return torch.stack(products) / len(samples)


def damped(moments: Tensor, damping: float) -> Tensor:
    """Return the moments with ``damping`` times the mean of their diagonal added to it, so that they can be inverted.

    Moments that are zero everywhere become the identity times ``damping``.
    """
    diagonal = moments.diagonal(dim1=-2, dim2=-1)
    mean = diagonal.mean(dim=-1, keepdim=True)
    return moments + torch.diag_embed((damping * torch.where(mean > 0, mean, 1.0)).expand_as(diagonal))


def removal_scores(weight: Tensor, kept: Tensor, moments: Tensor, removal: Removal) -> Tensor:
    """Return what the removal of each weight costs [output, input]; -inf for those that are removed already.

    ``literal`` is the cost of removing one weight alone, w_q^2 / (2 [H^-1]_qq) (eq. 8). ``exact`` removes the cheapest
    weight of an output, updates the others and their H^-1, and so on: a weight's score is the highest cost that was
    paid up to its removal, so that scores of different outputs can be merged.

    Args:
        weight: W [output, input + 1], biases last.
        kept: Whether a weight is kept so far [output, input].
        moments: H, damped.
        removal: How costs are counted.
    """
    inputs = kept.shape[1]
    inverse = torch.linalg.inv(moments)
    weight = weight.double().clone()
    weight[:, :inputs][~kept] = 0
    scores = torch.full(kept.shape, -math.inf, dtype=torch.float64)
    if removal == "literal":
        costs = weight[:, :inputs].square() / (2 * inverse.diagonal(dim1=-2, dim2=-1)[:, :inputs])
        return torch.where(kept, costs, scores)
    inverse = inverse.expand(len(weight), -1, -1).clone()
    rows, paid = torch.arange(len(weight)), torch.zeros(len(weight), dtype=torch.float64)
    left = torch.ones_like(kept)
    for _ in range(inputs):
        diagonal = inverse.diagonal(dim1=-2, dim2=-1)[:, :inputs]
        costs = weight[:, :inputs].square() / (2 * diagonal)
        # What is removed already comes first, at no cost.
        costs = torch.where(left, torch.where(kept, costs, -1.0), math.inf)
        chosen = costs.argmin(dim=1)
        paid = torch.maximum(paid, costs[rows, chosen])
        scores[rows, chosen] = torch.where(kept[rows, chosen], paid, -math.inf)
        left[rows, chosen] = False
        column = inverse[rows, :, chosen]
        pivot = column[rows, chosen, None]
        weight -= weight[rows, chosen, None] / pivot * column
        weight[rows, chosen] = 0
        inverse -= column[:, :, None] * (column / pivot)[:, None, :]
        inverse[rows, chosen, chosen] = 1  # not used again, and never divided by
    return scores


def kept_inputs(weight: Tensor, moments: Tensor, count: int) -> Tensor:
    """Return which ``count`` inputs to keep for all outputs together [input].

    The input whose removal costs all outputs least, sum over the outputs of w_q^2 / (2 [H^-1]_qq), goes first; then the
    weights and H^-1 are updated as for single weights, and so on.

    Args:
        weight: W [output, input + 1], biases last.
        moments: H, damped, the same for all outputs [input + 1, input + 1].
        count: The number of inputs to keep.
    """
    weight, inverse = weight.double().clone(), torch.linalg.inv(moments)
    kept = torch.ones(weight.shape[1] - 1, dtype=torch.bool)
    for _ in range(len(kept) - count):
        costs = weight[:, :-1].square().sum(dim=0) / (2 * inverse.diagonal()[:-1])
        chosen = int(torch.where(kept, costs, math.inf).argmin())
        kept[chosen] = False
        column = inverse[:, chosen].clone()
        weight -= torch.outer(weight[:, chosen], column / column[chosen])
        inverse -= torch.outer(column, column / column[chosen])
        inverse[chosen, chosen] = 1  # not used again, and never divided by
    return kept


def updated_weight(weight: Tensor, kept: Tensor, moments: Tensor, removal: Removal, before: Tensor) -> Tensor:
    """Return W [output, input + 1] with the removed weights 0 and the others changed to make up for it.

    ``exact`` solves least squares on the kept weights: H_RR w_R = (H w)_R. ``literal`` adds up the single updates
    -w_q / [H^-1]_qq H^-1 e_q (eq. 7) of all weights that are removed, and then zeroes these.

    Args:
        weight: W [output, input + 1], biases last.
        kept: Whether a weight is kept [output, input].
        moments: H, damped.
        removal: How the updates are combined.
        before: Whether a weight was kept before this removal [output, input].
    """
    stays = torch.cat([kept, torch.ones_like(kept[:, : weight.shape[1] - kept.shape[1]])], dim=1)
    weight, inputs = weight.double(), kept.shape[1]
    if removal == "exact":
        moments = moments.expand(len(weight), -1, -1)
        target = torch.where(stays, (moments @ weight[:, :, None])[:, :, 0], 0.0)
        both = stays[:, :, None] & stays[:, None, :]
        system = torch.where(both, moments, 0.0) + torch.diag_embed((~stays).double())
        return torch.where(stays, torch.linalg.solve(system, target), 0.0)
    inverse = torch.linalg.inv(moments)
    removed = torch.where(before & ~kept, weight[:, :inputs] / inverse.diagonal(dim1=-2, dim2=-1)[:, :inputs], 0.0)
    # One output after the other, because a shared H^-1 would be copied for each of them.
    each_inverse = inverse[:, :, :inputs].expand(len(weight), -1, -1)
    changes = [of_output[None] @ row[None, :, None] for of_output, row in zip(each_inverse, removed, strict=True)]
    return torch.where(stays, weight - torch.cat(changes)[:, :, 0], 0.0)


def smallest(scores: list[Tensor], count: int) -> list[Tensor]:
    """Return the masks of all but the ``count`` entries with the smallest scores; ties go by position."""
    flat = torch.cat([each.flatten() for each in scores])
    keep = torch.ones(len(flat), dtype=torch.bool)
    keep[flat.argsort(stable=True)[:count]] = False
    parts = keep.split([each.numel() for each in scores])
    return [part.reshape(each.shape) for part, each in zip(parts, scores, strict=True)]
