"""Which coordinates to remove: those whose removal adds least to the modelled loss, until a budget of bits is met."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from metarl.compression.bases.moments import Model
from metarl.policies.compression.bases import Bases

Rank = Literal["loss", "per-bit"]
COORDINATE_BITS = 32


def removal_costs(bases: Bases, model: Model) -> Tensor:
    """Return f of setting each coordinate to zero [group, basis], infinite for the bases that a group lacks."""
    return model.increase(-bases.alphas).masked_fill(~bases.present, torch.inf)


def without_cheapest(
    bases: Mapping[str, Bases], models: Mapping[str, Model], signs: int, rank: Rank = "loss", last: bool = True
) -> dict[str, Bases]:
    """Return the bases without the coordinates that cost least, until ``signs`` signs of all bases are left.

    One ranking goes over all weights. All others keep their signs and coordinates.

    Args:
        bases: The bases by weight.
        models: The models of the loss by coordinates.
        signs: The signs of all bases that may be left.
        rank: Whether the costs count as they are, or for each bit that goes: a group's signs and its coordinate.
        last: Whether the budget has to be met now, see ``cheapest``.
    """
    names = list(bases)
    costs, sizes = [], []
    for name in names:
        each = bases[name]
        cost = removal_costs(each, models[name])
        costs.append((cost / (each.size + COORDINATE_BITS) if rank == "per-bit" else cost).flatten())
        sizes.append(torch.full((costs[-1].numel(),), each.size))
    chosen = cheapest(torch.cat(costs), torch.cat(sizes), signs, last)
    kept = torch.split(~chosen, [len(each) for each in costs])
    return {
        name: without(bases[name], mask.reshape(bases[name].alphas.shape))
        for name, mask in zip(names, kept, strict=True)
    }


def cheapest(costs: Tensor, sizes: Tensor, signs: int, last: bool) -> Tensor:
    """Return which coordinates to remove [coordinate]: the cheapest ones while more than ``signs`` signs are left.

    Where groups have different sizes, the next coordinate may have more signs than there are to be removed. Then it
    stays, unless this is the ``last`` removal, after which no more than ``signs`` are left: the cheapest that fit in
    go, and then the cheapest of those groups that are just large enough.

    Args:
        costs: What the removal of each costs [coordinate], infinite for those that are not there.
        sizes: The signs that go with each [coordinate].
        signs: The signs that may be left.
        last: Whether no more than these may be left.
    """
    removed = torch.zeros(len(costs), dtype=torch.bool)
    excess = int(sizes[costs < torch.inf].sum()) - signs
    for place in costs.argsort(stable=True).tolist():
        if excess <= 0 or costs[place] == torch.inf:
            break
        if sizes[place] <= excess:
            removed[place] = True
            excess -= int(sizes[place])
        elif not last:
            break
    if last and excess > 0:
        left = ~removed & (costs < torch.inf) & (sizes >= excess)
        enough = sizes[left].min()
        removed[torch.where(left & (sizes == enough), costs, torch.inf).argmin()] = True
    return removed


def without(bases: Bases, kept: Tensor) -> Bases:
    """Return the bases without those that are not kept [group, basis]; the others do not change."""
    zero = bases.alphas.new_zeros(())
    return Bases(torch.where(kept.unsqueeze(1), bases.codes, zero), torch.where(kept, bases.alphas, zero))
