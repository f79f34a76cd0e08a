"""Which share of its channels each layer keeps on average: how meta attention's choice is followed over a training."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from statistics import fmean
from typing import NamedTuple

from metarl.inner_loop import AnyNetwork, SupportBatch, as_leaves, inner_step, kept_shares
from metarl.policies.methods import Method
from metarl.policies.networks.network import Parameters

TASKS = 4  # of a meta-batch, at most: a mean over a few is steady, and costs next to nothing
SIDES = ("input", "output")


class KeptChannels(NamedTuple):
    """Mean shares, 0 to 1, of input and of output channels with a score above zero: by layer, one per inner step.

    Of the layers and on the sides that the method has attention for, whether or not a layer's step size is zero.
    """

    inputs: dict[str, list[float]]
    outputs: dict[str, list[float]]


def attended_layers(method: Method, layer_names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The layers whose input and those whose output channels the method has attention for."""
    clips = method.attention.clips() if method.attention else {}
    inputs, outputs = (layer_names[:-1] if side in clips else () for side in ("forward", "backward"))
    return inputs, outputs


def kept_channels(
    network: AnyNetwork,
    parameters: Parameters,
    method: Method,
    tasks: Sequence[Sequence[SupportBatch[AnyNetwork]]],
    executor: Executor,
) -> KeptChannels:
    """Means over the first tasks of a meta-batch; each task has a support batch for every inner step."""
    inputs, outputs = attended_layers(method, network.layer_names)
    if not inputs and not outputs:
        return KeptChannels({}, {})

    def shares(batches: Sequence[SupportBatch[AnyNetwork]]) -> list[dict[str, tuple[float, float]]]:
        adapted, by_step = as_leaves(parameters), []
        for step, batch in enumerate(batches):
            if step:
                adapted = as_leaves(inner_step(network, adapted, method, step - 1, batches[step - 1], False))
            by_step.append(kept_shares(network, adapted, method, step, batch))
        return by_step

    steps = list(zip(*executor.map(shares, tasks[:TASKS]), strict=True))  # [inner step][task]

    def means(layer: str, side: int) -> list[float]:
        return [fmean(of_task[layer][side] for of_task in step) for step in steps]

    return KeptChannels({layer: means(layer, 0) for layer in inputs}, {layer: means(layer, 1) for layer in outputs})


def kept_columns(method: Method, layer_names: tuple[str, ...], inner_steps: int) -> list[str]:
    """The names in a log, ``kept_input_LAYER_K`` and ``kept_output_LAYER_K``, with inner steps K from 1."""
    return [
        f"kept_{side}_{layer}_{number}"
        for side, layers in zip(SIDES, attended_layers(method, layer_names), strict=True)
        for layer in layers
        for number in range(1, inner_steps + 1)
    ]


def kept_row(kept: KeptChannels) -> dict[str, float]:
    """The shares by their names in a log."""
    return {
        f"kept_{side}_{layer}_{number}": share
        for side, layers in zip(SIDES, kept, strict=True)
        for layer, shares in layers.items()
        for number, share in enumerate(shares, start=1)
    }
