"""The Gaussian MLP forward and backward on a device, without automatic differentiation and in the least memory.

A tensor travels forward through the layers, and a gradient back, each in the memory of what it replaces wherever that
is not kept (p-Meta, Appendix A).
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metarl.policies.device.in_place import (
    ActivationBuffer,
    Bits,
    FloatArray,
    add_to_rows,
    block,
    blocked_bits,
    multiply_in_place,
    multiply_into,
    rectify,
)
from metarl.policies.device.meter import Meter
from metarl.policies.methods import STEP_SIZES, Method
from metarl.policies.networks.mlp import GaussianMLP
from metarl.policies.networks.network import Network, Parameters

_NO_BIAS = np.zeros(0, np.float32)


class Samples(NamedTuple):
    """The time steps of an episode, or of a chunk of it, with normalized advantages."""

    observations: FloatArray  # [time, observation]
    actions: FloatArray  # [time, action], the policy's own
    advantages: FloatArray  # [time]


@dataclass(frozen=True)
class DeviceLayer:
    """A layer and how a step updates it: not at all if ``step_size`` is zero."""

    name: str
    weight: FloatArray  # [output, input], of a convolution [output, input, kernel, kernel], of a norm [channel]
    bias: FloatArray  # [output]; a convolution has none, [0]
    step_size: float
    clips: dict[str, float]  # the clip ratio of each attention module that weighs its gradients

    @property
    def updated(self) -> bool:
        return self.step_size != 0

    @property
    def chooses_inputs(self) -> bool:
        """Whether attention says which input channels are kept for the weight gradient."""
        return self.updated and "forward" in self.clips


@dataclass(frozen=True)
class DeviceNetwork:
    """The layers, from the input to the output, and the memory that all of them work in."""

    layers: tuple[DeviceLayer, ...]
    parameters: Parameters  # all of them, among them those of the attention modules
    inverse_std: FloatArray  # [action]
    row: FloatArray  # room for one row of the widest layer
    meter: Meter

    @property
    def sizes(self) -> tuple[int, ...]:
        return (self.layers[0].weight.shape[1], *(len(layer.bias) for layer in self.layers))


class Kept(NamedTuple):
    """The channels of a layer's input that attention keeps, times their scores."""

    inputs: FloatArray  # [time, kept channel]
    channels: NDArray[np.intp]  # [kept channel]


@dataclass(frozen=True)
class Trace:
    """What the forward pass leaves for the way back, by the index of the layer."""

    whole: dict[int, ActivationBuffer] = field(default_factory=dict)  # inputs
    kept: dict[int, Kept] = field(default_factory=dict)  # inputs, some channels
    bits: dict[int, Bits] = field(default_factory=dict)  # of the ReLU after the layer


def device_network(
    network: GaussianMLP, parameters: Parameters, method: Method, step: int, meter: Meter
) -> DeviceNetwork:
    """The network with what the method does to it in inner step ``step``; weights are shared, not copied."""
    layers = device_layers(network, parameters, method, step)
    row = meter.empty(max(2, *network.sizes))
    inverse_std = meter.empty(network.action_size)
    np.negative(parameters[f"{layers[-1].name}.log_std"].detach().numpy(), out=inverse_std)
    np.exp(inverse_std, out=inverse_std)
    return DeviceNetwork(layers, parameters, inverse_std, row, meter)


def device_layers(network: Network, parameters: Parameters, method: Method, step: int) -> tuple[DeviceLayer, ...]:
    """The layers in their order, with what the method does to them in inner step ``step``; weights are shared."""
    arrays = {name: tensor.detach().numpy() for name, tensor in parameters.items()}
    chosen, last = method.updated_layers(network.layers), network.layer_names[-1]
    clips = method.attention.clips() if method.attention else {}
    return tuple(
        DeviceLayer(
            name,
            arrays[f"{name}.weight"],
            arrays.get(f"{name}.bias", _NO_BIAS),
            step_size if name in chosen else 0.0,
            clips if name != last else {},
        )
        for name, step_size in zip(network.layer_names, arrays[STEP_SIZES][step].tolist(), strict=True)
    )


def load(network: DeviceNetwork, observations: FloatArray, whole: Set[int]) -> ActivationBuffer:
    """The observations in memory of their own, as the first layer's input."""
    rows, width = observations.shape
    inputs = ActivationBuffer(network.meter.empty(_words(network, 0, rows, whole)), rows, width)
    inputs.matrix[:] = observations
    return inputs


def layer_output(network: DeviceNetwork, index: int, inputs: ActivationBuffer, whole: Set[int]) -> ActivationBuffer:
    """y_l in the memory of x_{l-1}, or beside it if ``whole``, the layers whose inputs stay, contains the layer."""
    layer = network.layers[index]
    if index in whole:
        memory = network.meter.empty(_words(network, index + 1, inputs.rows, whole))
        output = multiply_into(memory, inputs, layer.weight.T)
    else:
        output = multiply_in_place(inputs, layer.weight.T, network.row)
    add_to_rows(output, layer.bias)
    return output


def activate(network: DeviceNetwork, index: int, output: ActivationBuffer, trace: Trace, first: int) -> None:
    """The ReLU after every layer but the last; its bits stay from layer ``first`` on, where the way back ends."""
    if index == len(network.layers) - 1:
        return
    if index >= first:
        trace.bits[index] = blocked_bits(output, network.row, network.meter)
    rectify(output)


def standardize(network: DeviceNetwork, mean: ActivationBuffer, actions: FloatArray) -> ActivationBuffer:
    """(mean - action) / std, in the memory of the mean."""
    np.subtract(mean.matrix, actions, out=mean.matrix)
    for row in mean.matrix:
        np.multiply(row, network.inverse_std, out=row)
    return mean


def output_gradient(network: DeviceNetwork, standardized: ActivationBuffer, advantages: FloatArray) -> ActivationBuffer:
    """g(y_L) of minus the sum over time of log pi * advantage, in the memory of ``standardize``'s result."""
    for row, advantage in zip(standardized.matrix, advantages, strict=True):
        np.multiply(row, network.inverse_std, out=row)
        np.multiply(row, advantage, out=row)
    return standardized


def input_gradient(network: DeviceNetwork, index: int, gradient: ActivationBuffer, trace: Trace) -> ActivationBuffer:
    """g(y_{l-1}) from g(y_l): through the layer's weights, in the memory of x_{l-1} or of g(y_l), and the ReLU."""
    weight = network.layers[index].weight
    words = gradient.rows * weight.shape[1]
    if index in trace.whole:
        passed = multiply_into(trace.whole.pop(index).memory, gradient, weight)
    elif words <= len(gradient.memory):
        passed = multiply_in_place(gradient, weight, network.row)
    else:
        passed = multiply_into(network.meter.empty(words), gradient, weight)
    block(passed, trace.bits.pop(index - 1), network.row)
    return passed


def _words(network: DeviceNetwork, index: int, rows: int, whole: Set[int]) -> int:
    """Room for a layer's input and for all that will take its place, up to the next input that stays."""
    stop = min((layer for layer in whole if layer >= index), default=len(network.layers))
    return rows * max(network.sizes[index : stop + 1])
