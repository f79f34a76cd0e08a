"""One inner step on a device: the training's step in kilobytes (p-Meta, Sec. 3.2, 3.3 and 3.5, Appendix A).

Episodes are worked through one by one, or in chunks of a few observations, and their gradients added up. Kept for the
way back are the inputs of those layers alone whose step size is not zero, of them only the channels that attention
scores above zero, and one bit per ReLU; the way back ends at the first such layer.

Attention judges whole episodes. A chunk therefore waits for its episode's scores, which a first pass finds from the
means of inputs and output gradients: for every episode of more than one chunk that is one more forward pass, and
backward pass without weight gradients. The scores, and so the result, do not depend on the size of the chunks.

The recorded episodes, like the weights, are storage and not counted; the chunk in work is copied from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from metarl.policies.device.accumulators import Accumulators, accumulator, kept_rows, updated_layer
from metarl.policies.device.in_place import ActivationBuffer, FloatArray
from metarl.policies.device.meter import Meter
from metarl.policies.device.network import (
    DeviceNetwork,
    Kept,
    Samples,
    Trace,
    activate,
    device_network,
    input_gradient,
    layer_output,
    load,
    output_gradient,
    standardize,
)
from metarl.policies.device.scores import Scores, episode_score, episode_scores
from metarl.policies.methods import Method
from metarl.policies.networks.mlp import GaussianMLP
from metarl.policies.networks.network import Parameters

CHUNK = 20  # observations: the default of ``Controller.adapt``


def device_step(
    network: GaussianMLP,
    parameters: Parameters,
    method: Method,
    step: int,
    episodes: Sequence[Samples],
    chunk: int | None = None,
    meter: Meter | None = None,
) -> Parameters:
    """w_l - alpha_l^k * gamma_l * dL/dw_l with the vanilla policy gradient, k = ``step`` (p-Meta, eqs. 6 and 14).

    ``chunk`` is the largest number of observations in work at a time; without it an episode. ``meter`` tells afterwards
    what memory it took. The result is that of the training's inner step up to the rounding of float32.
    """
    device = device_network(network, parameters, method, step, meter or Meter())
    adapted = dict(parameters)
    if not any(layer.updated for layer in device.layers):
        return adapted
    # A device changes these weights where they stand. Here a copy does that for them: the old ones stay as they are.
    for name in (f"{layer.name}.weight" for layer in device.layers if layer.chooses_inputs):
        adapted[name] = torch.from_numpy(parameters[name].detach().numpy().copy())
    accumulators: Accumulators = {}
    steps = remaining = sum(len(episode.advantages) for episode in episodes)
    for episode in episodes:
        chunks = list(_chunks(episode, chunk or steps))
        scores: Scores = {}  # the last episode's are gone when the new ones come
        if len(chunks) > 1:
            scores = episode_scores(device, chunks)
        for samples in chunks:
            remaining -= len(samples.advantages)
            for index in _accumulate(device, samples, scores, accumulators):
                if remaining == 0:
                    layer = device.layers[index]
                    adapted |= updated_layer(accumulators, layer.name, layer.step_size / steps, adapted, device.meter)
    return adapted


def _chunks(episode: Samples, size: int) -> Iterator[Samples]:
    for start in range(0, len(episode.advantages), size):
        yield Samples(*(part[start : start + size] for part in episode))


def _accumulate(device: DeviceNetwork, samples: Samples, scores: Scores, accumulators: Accumulators) -> Iterator[int]:
    """Adds the gradients of some samples to ``accumulators``; yields each layer when the way back has passed it.

    Adds to ``scores`` those that are not there, taking the samples for the whole episode.
    """
    first = min(index for index, layer in enumerate(device.layers) if layer.updated)
    whole = {index for index, layer in enumerate(device.layers) if layer.updated and not layer.chooses_inputs}
    trace = Trace()
    activations = load(device, samples.observations, whole)
    for index, layer in enumerate(device.layers):
        if index in whole:
            trace.whole[index] = activations
        elif layer.chooses_inputs:
            trace.kept[index] = _kept(device, activations, episode_score(device, index, "forward", activations, scores))
        activations = layer_output(device, index, activations, whole)
        activate(device, index, activations, trace, first)
    activations = standardize(device, activations, samples.actions)
    if device.layers[-1].updated:
        _add_log_std_gradient(device, activations, samples.advantages, accumulators)
    activations = output_gradient(device, activations, samples.advantages)
    for index in reversed(range(first, len(device.layers))):
        if device.layers[index].updated:
            _add_gradients(device, index, activations, trace, scores, accumulators)
        if index > first:
            activations = input_gradient(device, index, activations, trace)
        yield index


def _kept(device: DeviceNetwork, inputs: ActivationBuffer, scores: FloatArray) -> Kept:
    """A copy of the channels whose scores are not zero, times their scores."""
    channels = device.meter.count(np.array(np.flatnonzero(scores)))
    kept = np.take(inputs.matrix, channels, axis=1, out=device.meter.empty(inputs.rows, len(channels)), mode="clip")
    weights = np.take(scores, channels, out=device.row[: len(channels)], mode="clip")
    for row in kept:
        np.multiply(row, weights, out=row)
    return Kept(kept, channels)


def _add_log_std_gradient(
    device: DeviceNetwork, standardized: ActivationBuffer, advantages: FloatArray, accumulators: Accumulators
) -> None:
    """Sum over time of (1 - z^2) * advantage."""
    total = accumulator(accumulators, f"{device.layers[-1].name}.log_std", device.parameters, device.meter)
    squares = device.row[: len(total)]
    np.einsum("ta,ta,t->a", standardized.matrix, standardized.matrix, advantages, out=squares)
    np.subtract(np.add.reduce(advantages), squares, out=squares)
    np.add(total, squares, out=total)


def _add_gradients(
    device: DeviceNetwork,
    index: int,
    gradient: ActivationBuffer,
    trace: Trace,
    scores: Scores,
    accumulators: Accumulators,
) -> None:
    """Adds gamma_bw[o] * gamma_fw[c] * g(w)[o, c] and gamma_bw[o] * g(b)[o]."""
    layer = device.layers[index]
    gammas = episode_score(device, index, "backward", gradient, scores) if "backward" in layer.clips else None
    biases = accumulator(accumulators, f"{layer.name}.bias", device.parameters, device.meter)
    outputs = device.row[: gradient.width]
    np.add.reduce(gradient.matrix, axis=0, out=outputs)
    np.add(biases, _weighed(outputs, gammas), out=biases)

    name, kept = f"{layer.name}.weight", trace.kept.pop(index, None)
    if kept is None:
        weights = accumulator(accumulators, name, device.parameters, device.meter)
        _add_by_output(weights, trace.whole[index].matrix, gradient.matrix, gammas, device.row)
        return
    rows = kept_rows(accumulators, name, kept.channels, device.parameters, device.meter)
    for channel, target in zip(kept.inputs.T, rows, strict=True):
        np.matmul(channel, gradient.matrix, out=outputs)
        np.add(target, _weighed(outputs, gammas), out=target)


def _add_by_output(
    weights: FloatArray, inputs: FloatArray, at_output: FloatArray, gammas: FloatArray | None, row: FloatArray
) -> None:
    row = row[: inputs.shape[1]]
    for output, target in enumerate(weights):
        gamma = None if gammas is None else gammas[output]
        if gamma != 0:
            np.matmul(at_output[:, output], inputs, out=row)
            np.add(target, _weighed(row, gamma), out=target)


def _weighed(gradient: FloatArray, gamma: FloatArray | np.float32 | None) -> FloatArray:
    return gradient if gamma is None else np.multiply(gradient, gamma, out=gradient)
