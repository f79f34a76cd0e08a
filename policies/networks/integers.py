"""A Gaussian policy of integers: int8 weights and activations, int32 sums.

An observation is divided by the scale of each of its numbers and rounded, x = round(o / s_0). A hidden layer computes
y = clip(round((W x + b) * s_w s_x / s_y), 0, 127): the sum is int32, the factor a fraction of integers, and the clip is
the ReLU, too. The last layer's sums times s_w s_x are the mean actions. The scales of the observations are inside the
first layer's weights, so that s_x is 1 there.

Float tensors hold the integers while the products are computed, which is exact as long as the type has the digits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from pydantic import with_config
from torch import Tensor

from metarl.core.errors import Refusal
from metarl.core.validation import STRICT
from metarl.policies.networks.fixed_point import Fraction, fraction
from metarl.policies.networks.kinds import Shape
from metarl.policies.networks.layers import Layer
from metarl.policies.networks.mlp import GaussianMLP
from metarl.policies.networks.network import Network, Parameters, RunLayer, Trace, run_layer

LARGEST = 127  # of an int8; -128 is not used, so that every number has a negative
LARGEST_BIAS = 2**30
WIDEST = 65_536  # inputs, so that their products and a bias add up to an int32
EXACT = 2**24 // LARGEST**2  # inputs whose products add up exactly in float32, in any order


@with_config(STRICT)
@dataclass(frozen=True)
class IntegerMLP(GaussianMLP):
    """The layers of ``GaussianMLP`` with integer parameters; gradients on a device have ``gradient_bits``.

    Beside weights (int8) and biases (int32) there are scales: of a layer's weights and of its input, of the gradient at
    its output, and ``sum_shift``: the bits that its weights' gradients lose when they are added up in int16.
    """

    gradient_bits: Literal[8, 16] = 16

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The layers ``layer1``, ``layer2``, ... from the observation to the mean action."""
        stated = GaussianMLP(self.observation_size, self.hidden_sizes, self.action_size, self.initial_std).layers
        return tuple(replace(layer, dtype=torch.int8) for layer in stated)

    @cached_property
    def parameter_shapes(self) -> dict[str, Shape]:
        """The shape of every parameter by its name, in the order of the layers."""
        shapes: dict[str, Shape] = {}
        for index, layer in enumerate(self.layers):
            shapes |= layer.parameter_shapes
            shapes[f"{layer.name}.weight_scale"] = ()
            shapes[f"{layer.name}.input_scale"] = () if index else (self.observation_size,)
            shapes[f"{layer.name}.gradient_scale"] = ()
            shapes[f"{layer.name}.sum_shift"] = ()
        return shapes

    @cached_property
    def parameter_types(self) -> dict[str, torch.dtype]:
        """The type of every parameter by its name."""
        types = {"weight": torch.int8, "bias": torch.int32, "sum_shift": torch.int32}
        return {name: types.get(name.rpartition(".")[2], torch.float32) for name in self.parameter_shapes}

    def __call__(self, parameters: Parameters, inputs: Tensor, run: RunLayer = run_layer) -> tuple[Tensor, Trace]:
        """Return the mean actions [..., sample, action], and the trace of the layers' integers in float tensors."""
        trace: Trace = {}
        hidden = quantized(inputs, parameters[f"{self.layer_names[0]}.input_scale"])
        for layer, factor in zip(self.layers, self.factors(parameters), strict=True):
            weight, bias = parameters[f"{layer.name}.weight"], parameters[f"{layer.name}.bias"].unsqueeze(-2)

            def sums(x: Tensor, weight: Tensor = weight, bias: Tensor = bias) -> Tensor:
                exact = torch.float32 if weight.shape[-1] <= EXACT else torch.float64
                return torch.matmul(x.to(exact), weight.to(exact).mT).long() + bias

            traced = trace[layer.name] = run(layer.name, sums, hidden)
            if isinstance(factor, float):
                return traced.output.float() * factor, trace
            scaled = (traced.output * factor.multiplier + (1 << (factor.shift - 1))) >> factor.shift
            hidden = scaled.clamp(0, LARGEST).float()
        raise AssertionError("a network has a last layer")

    def factors(self, parameters: Parameters) -> list[Fraction | float]:
        """Return what each layer's sums are multiplied with: a fraction, or the last layer's float."""
        scales = [self.sum_scale(parameters, layer.name) for layer in self.layers]
        following = [scale_of(parameters, layer.name, "input_scale") for layer in self.layers[1:]]
        return [*(fraction(sums / output) for sums, output in zip(scales, following, strict=False)), scales[-1]]

    def sum_scale(self, parameters: Parameters, layer: str) -> float:
        """Return the unit of a layer's sums, s_w s_x, as float32 rounds it."""
        product = torch.tensor(scale_of(parameters, layer, "weight_scale"))
        if layer != self.layer_names[0]:
            product = product * torch.tensor(scale_of(parameters, layer, "input_scale"))
        return float(product)


def scale_of(parameters: Parameters, layer: str, name: str) -> float:
    """Return a scale of a layer, which is the same for all tasks, or a shift."""
    return float(parameters[f"{layer}.{name}"].reshape(-1)[0])


def quantized(observations: Tensor, scales: Tensor) -> Tensor:
    """Return observations [..., sample, observation] as whole numbers of their scales [..., observation]."""
    return (observations / scales.unsqueeze(-2)).round().clamp(-LARGEST, LARGEST)


def refuse_integers(network: Network, what: str) -> None:
    """Raise Refusal that says that ``what`` is for networks of floats, if the network is one of integers."""
    if isinstance(network, IntegerMLP):
        raise Refusal(f"{what} is for controllers of floats, and this one is int8: take the one that it came from")


def check_integers(parameters: Parameters, network: IntegerMLP) -> None:
    """Raise Refusal unless the scales are positive and the integers such that no sum can overflow.

    A fraction of sums must be below 2^30, and a shift one of an int32.
    """
    for name, tensor in parameters.items():
        if name.endswith("_scale") and not (tensor > 0).all():
            raise Refusal(f"the scales '{name}' must be positive")
        if name.endswith(".sum_shift") and not 0 <= int(tensor) <= 31:
            raise Refusal(f"'{name}' must be a number of bits from 0 to 31, got {int(tensor)}")
        if tensor.dtype == torch.int8 and (tensor == -LARGEST - 1).any():
            raise Refusal(f"the integers of '{name}' must lie from -{LARGEST} to {LARGEST}")
        if tensor.dtype == torch.int32 and name.endswith(".bias") and (tensor.long().abs() > LARGEST_BIAS).any():
            raise Refusal(f"the integers of '{name}' must lie within {LARGEST_BIAS}, so that no sum overflows")
    if max(network.sizes) > WIDEST:
        raise Refusal(f"the layers of an int8 policy have at most {WIDEST} inputs, got {max(network.sizes)}")
    scales = [network.sum_scale(parameters, name) for name in network.layer_names]
    for name, sums in zip(network.layer_names[1:], scales, strict=False):
        if not 0 < sums / scale_of(parameters, name, "input_scale") < 2**30:
            raise Refusal(f"the scales before '{name}' are too far apart: their quotient must lie below 2^30")
    if not all(0 < scale < float("inf") for scale in scales):
        raise Refusal("the scales of weights and inputs must have products that are positive float32 numbers")
