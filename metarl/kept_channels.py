"""Which share of its channels each layer keeps on average: how meta attention's choice is followed over a training."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from torch import Tensor

from metarl.inner_loop import Scores
from metarl.policies.methods import Method

TASKS = 4  # of a meta-batch, at most: a mean over a few is steady
SIDES = ("input", "output")


class KeptChannels(NamedTuple):
    """Mean shares, 0 to 1, of input and of output channels with a score above zero: by layer, one per inner step.

    Of the layers and on the sides that the method has attention for, whether or not a layer's step size is zero.
    """

    inputs: dict[str, list[float]]
    outputs: dict[str, list[float]]


def attended_layers(method: Method, layer_names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the layers whose input and those whose output channels the method has attention for."""
    clips = method.attention.clips() if method.attention else {}
    inputs, outputs = (layer_names[:-1] if side in clips else () for side in ("forward", "backward"))
    return inputs, outputs


def kept_shares(scores: Scores) -> dict[str, tuple[float, float]]:
    """Return the shares of input and of output channels with a score above zero, by layer; means over the samples.

    1 where nothing is weighed.
    """
    return {layer: (_share(sides.get("forward")), _share(sides.get("backward"))) for layer, sides in scores.items()}


def _share(scores: Tensor | None) -> float:
    return 1.0 if scores is None else float((scores != 0).double().mean())


def kept_channels(method: Method, layer_names: tuple[str, ...], scores: Sequence[Sequence[Scores]]) -> KeptChannels:
    """Return the means over the first tasks of a meta-batch, given the scores [inner step][task] of its adaptation."""
    shares = [[kept_shares(of_task) for of_task in of_step[:TASKS]] for of_step in scores]
    inputs, outputs = attended_layers(method, layer_names)

    def means(layer: str, side: int) -> list[float]:
        return [fmean(of_task[layer][side] for of_task in of_step) for of_step in shares]

    return KeptChannels({layer: means(layer, 0) for layer in inputs}, {layer: means(layer, 1) for layer in outputs})


def kept_columns(method: Method, layer_names: tuple[str, ...], inner_steps: int) -> list[str]:
    """Return the names in a log, ``kept_input_LAYER_K`` and ``kept_output_LAYER_K``, with inner steps K from 1."""
    return [
        f"kept_{side}_{layer}_{number}"
        for side, layers in zip(SIDES, attended_layers(method, layer_names), strict=True)
        for layer in layers
        for number in range(1, inner_steps + 1)
    ]


def kept_row(kept: KeptChannels) -> dict[str, float]:
    """Return the shares by their names in a log."""
    return {
        f"kept_{side}_{layer}_{number}": share
        for side, layers in zip(SIDES, kept, strict=True)
        for layer, shares in layers.items()
        for number, share in enumerate(shares, start=1)
    }
