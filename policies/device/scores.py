"""Meta attention on a device: the scores of one episode, also of one that does not fit into memory at once.

Where an episode is worked through in chunks, a first pass over it finds the means that attention looks at.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from metarl.policies.attention import attention_scores
from metarl.policies.device.in_place import ActivationBuffer, FloatArray
from metarl.policies.device.meter import Meter
from metarl.policies.device.network import (
    DeviceLayer,
    DeviceNetwork,
    Samples,
    Trace,
    activate,
    input_gradient,
    layer_output,
    load,
    output_gradient,
    standardize,
)
from metarl.policies.networks.network import Parameters

# What ``attention_scores`` allocates by itself, per channel: a dozen words for sorting and clipping.
SCORING_BYTES = 46

Scores = dict[tuple[int, str], FloatArray]  # gamma [channel] of one episode, by the layer's index and the side


def episode_scores(device: DeviceNetwork, chunks: Sequence[Samples]) -> Scores:
    """The scores of an episode that is worked through in chunks, from a pass that stores no layer's input."""
    sums = {
        (index, side): device.meter.zeros(device.sizes[index + (side == "backward")])
        for index, layer in enumerate(device.layers)
        if layer.updated
        for side in layer.clips
    }
    if sums:
        for samples in chunks:
            _add_summaries(device, samples, sums)
    steps = sum(len(samples.advantages) for samples in chunks)
    return {(index, side): _gamma(device, index, side, total, steps) for (index, side), total in sums.items()}


def _add_summaries(device: DeviceNetwork, samples: Samples, sums: Scores) -> None:
    """Adds every scored layer's input and output gradient, summed over time."""
    first = min((index for index, side in sums if side == "backward"), default=len(device.layers))
    trace, none_whole = Trace(), frozenset[int]()
    activations = load(device, samples.observations, none_whole)
    for index in range(len(device.layers)):
        _add_rows(device, activations, sums.get((index, "forward")))
        activations = layer_output(device, index, activations, none_whole)
        activate(device, index, activations, trace, first)
    activations = standardize(device, activations, samples.actions)
    activations = output_gradient(device, activations, samples.advantages)
    for index in reversed(range(first, len(device.layers))):
        _add_rows(device, activations, sums.get((index, "backward")))
        if index > first:
            activations = input_gradient(device, index, activations, trace)


def _add_rows(device: DeviceNetwork, tensor: ActivationBuffer, total: FloatArray | None) -> None:
    if total is not None:
        np.add(total, np.add.reduce(tensor.matrix, axis=0, out=device.row[: tensor.width]), out=total)


def episode_score(
    device: DeviceNetwork, index: int, side: str, episode: ActivationBuffer, scores: Scores
) -> FloatArray:
    """gamma [channel] of a layer for the episode; computed from the episode's tensor if it is not in ``scores``."""
    if (index, side) not in scores:
        total = np.add.reduce(episode.matrix, axis=0, out=device.meter.empty(episode.width))
        scores[index, side] = _gamma(device, index, side, total, episode.rows)
    return scores[index, side]


def _gamma(device: DeviceNetwork, index: int, side: str, total: FloatArray, steps: int) -> FloatArray:
    """gamma [channel] from a tensor's sum over the time steps of an episode, whose memory it takes."""
    np.divide(total, steps, out=total)
    score_channels(device.layers[index], device.parameters, side, total.reshape(1, -1), device.meter)
    return total


def score_channels(layer: DeviceLayer, parameters: Parameters, side: str, summary: FloatArray, meter: Meter) -> None:
    """gamma of the samples of one batch, which share it, in place of what attention sees of them [sample, channel]."""
    with torch.inference_mode(), meter.reserve(SCORING_BYTES * summary.size):
        name, clip = layer.name, layer.clips[side]
        scores = attention_scores(parameters, name, side, torch.from_numpy(summary), clip, together=len(summary))
        summary[:] = scores.numpy()
