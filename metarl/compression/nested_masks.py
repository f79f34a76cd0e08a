"""How many weights of each row the subnets of a nested controller keep (DRESS), and how their losses are weighed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

Counts = dict[str, tuple[int, ...]]  # by weight, the numbers of a row in each subnet, the densest first


def loss_weights(sparsities: Sequence[float], gamma: float) -> list[float]:
    """Return pi_k = (1 - s_k)^gamma / sum_j (1 - s_j)^gamma; gamma 0 weighs all alike."""
    scales = [(1 - sparsity) ** gamma for sparsity in sparsities]
    return [scale / sum(scales) for scale in scales]


def allocated(weights: Mapping[str, Tensor], sizes: Mapping[str, int], sparsities: Sequence[float]) -> Counts:
    """Return how many numbers of each row the subnets keep, by one ranking of the magnitudes over all weights.

    A weight's share is that of its numbers among the round((1 - s_k) I) largest of all I. Rows get whole numbers of
    it: rounded down, then one more where the most was cut off, as long as the total comes closer. No row is left
    without a number, and no subnet keeps more of a row than a denser one.

    Args:
        weights: The dense weights by name.
        sizes: How many numbers are a row, by weight.
        sparsities: The sparsities of the subnets, ascending.
    """
    magnitudes = torch.cat([weight.detach().abs().flatten() for weight in weights.values()])
    falling = magnitudes.sort(descending=True).values
    largest = dict(sizes)
    of_subnets = []
    for sparsity in sparsities:
        target = max(1, round((1 - sparsity) * len(falling)))
        share = {
            name: float((weight.detach().abs() >= falling[target - 1]).sum()) * sizes[name] / weight.numel()
            for name, weight in weights.items()
        }
        rows = {name: weight.numel() // sizes[name] for name, weight in weights.items()}
        largest = rounded(share, rows, largest, target)
        of_subnets.append(largest)
    return {name: tuple(counts[name] for counts in of_subnets) for name in weights}


def rounded(
    share: Mapping[str, float], rows: Mapping[str, int], largest: Mapping[str, int], target: int
) -> dict[str, int]:
    """Return whole numbers per row, from 1 to ``largest``, whose total is as close to ``target`` as single steps get.

    Args:
        share: The wanted number of each row, by weight.
        rows: How many rows a weight has.
        largest: The most that a row may keep.
        target: The wanted total.
    """
    counts = {name: min(max(1, int(wanted)), largest[name]) for name, wanted in share.items()}
    while True:
        missing = target - sum(rows[name] * count for name, count in counts.items())
        step = 1 if missing > 0 else -1
        movable = [
            name
            for name, count in counts.items()
            if abs(missing - step * rows[name]) < abs(missing) and 1 <= count + step <= largest[name]
        ]
        if not movable:
            return counts
        name = max(movable, key=lambda each: step * (share[each] - counts[each]))
        counts[name] += step
