"""Which weights are kept, given what the removal of each costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from metarl.compression.removal import smallest

Allocation = Literal["global", "uniform"]


def chosen_masks(scores: Sequence[Tensor], share: float, allocation: Allocation) -> list[Tensor]:
    """Return which weights of each layer are kept [output, input]: exactly round((1 - share) N) of N, or of a layer's.

    Args:
        scores: By layer, the cost of each weight's removal [output, input].
        share: The share of the weights to remove.
        allocation: Whether all layers are ranked together.
    """

    def removed(total: int) -> int:
        return total - round((1 - share) * total)

    if allocation == "global":
        return smallest(list(scores), removed(sum(each.numel() for each in scores)))
    return [smallest([each], removed(each.numel()))[0] for each in scores]


def connected_masks(scores: Sequence[Tensor], share: float, allocation: Allocation) -> list[Tensor]:
    """Return the masks of ``chosen_masks`` with as many weights, none of which feeds a unit that no other layer reads.

    A unit that has lost all its outgoing weights computes something for nothing. Its incoming weights are removed
    before all others, which leaves room for weights that matter, and the choice is made again.

    Args:
        scores: By layer, the cost of each weight's removal [output, input]; the outputs are the next layer's inputs.
        share: The share of the weights to remove.
        allocation: Whether all layers are ranked together.
    """
    scores = [each.clone() for each in scores]
    while True:
        masks = chosen_masks(scores, share, allocation)
        found = False
        for below, above, mask in zip(scores, scores[1:], masks[1:], strict=False):
            unread = ~mask.any(dim=0)
            if bool((below[unread] > -math.inf).any()):
                below[unread] = -math.inf
                above[:, unread] = -math.inf
                found = True
        if not found:
            return masks
