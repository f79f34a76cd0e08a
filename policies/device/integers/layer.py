"""A layer of integers as a device sees it: its numbers, the factors between scales, and what an inner step does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metarl.policies.device.in_place import FloatArray
from metarl.policies.methods import STEP_SIZES, Method
from metarl.policies.networks.fixed_point import Fraction, fraction
from metarl.policies.networks.integers import IntegerMLP, scale_of
from metarl.policies.networks.layers import Layer
from metarl.policies.networks.network import Parameters


@dataclass(frozen=True)
class IntegerLayer:
    """A layer of integers and how a step updates it: not at all if ``step_size`` is zero."""

    stated: Layer
    weight: NDArray[np.int8]  # [output, input]
    bias: NDArray[np.int32]  # [output]
    forward: Fraction | float  # from the sums to the output's unit; of the last layer to mean actions
    backward: Fraction | None  # from the sums of the gradient at the input to its unit; None of the first layer
    input_scales: FloatArray  # [input], one number for a hidden layer: []
    weight_scale: float
    sum_scale: float  # the unit of bias and sums
    gradient_scale: float
    sum_shift: int
    step_size: float
    clips: dict[str, float]  # the clip ratio of each attention module that weighs its gradients

    @property
    def name(self) -> str:
        """Its name in the network."""
        return self.stated.name

    @property
    def updated(self) -> bool:
        """Whether the step updates the layer."""
        return self.step_size != 0

    @property
    def chooses_inputs(self) -> bool:
        """Whether attention says which input channels are kept for the weight gradient."""
        return self.updated and "forward" in self.clips

    def weight_steps(self, rate: float) -> NDArray[np.float64]:
        """Return by how many weight units a unit of the int16 sums moves a weight, by input or for all inputs.

        ``rate`` is the step size over the number of time steps. The scales of observations are inside the weights, so
        that they count once for the gradient and once for the weight.
        """
        inputs = self.input_scales.astype(np.float64)
        unit = rate * self.gradient_scale * 2.0**self.sum_shift / self.weight_scale
        steps: NDArray[np.float64] = np.atleast_1d(unit * (inputs**2 if inputs.ndim else inputs))
        return steps

    def bias_step(self, rate: float) -> float:
        """Return by how many units a unit of the summed gradient moves a bias."""
        return rate * self.gradient_scale / self.sum_scale


def integer_layers(network: IntegerMLP, parameters: Parameters, method: Method, step: int) -> tuple[IntegerLayer, ...]:
    """Return the layers in their order, with what the method does to them in inner step ``step``; weights are shared.

    Args:
        network: The network.
        parameters: Its parameters, with the step sizes of the inner loop.
        method: The meta-learning method.
        step: The inner step, from 0 on.
    """
    arrays: dict[str, NDArray[Any]] = {name: tensor.detach().numpy() for name, tensor in parameters.items()}
    chosen, names = method.updated_layers(network.layers), network.layer_names
    clips = method.attention.clips() if method.attention else {}
    gradients = [scale_of(parameters, name, "gradient_scale") for name in names]
    weights = [scale_of(parameters, name, "weight_scale") for name in names]
    factors, sizes = network.factors(parameters), arrays[STEP_SIZES][step].tolist()
    return tuple(
        IntegerLayer(
            stated=layer,
            weight=arrays[f"{layer.name}.weight"],
            bias=arrays[f"{layer.name}.bias"],
            forward=factors[index],
            backward=backward_fraction(gradients, weights, index) if index else None,
            input_scales=arrays[f"{layer.name}.input_scale"],
            weight_scale=weights[index],
            sum_scale=network.sum_scale(parameters, layer.name),
            gradient_scale=gradients[index],
            sum_shift=int(arrays[f"{layer.name}.sum_shift"]),
            step_size=sizes[index] if layer.name in chosen else 0.0,
            clips=clips if index < len(names) - 1 else {},
        )
        for index, layer in enumerate(network.layers)
    )


def backward_fraction(gradients: Sequence[float], weights: Sequence[float], index: int) -> Fraction:
    """Return the factor from the sums W^T g of layer ``index`` to the unit of the gradient before it."""
    return fraction(min(gradients[index] * weights[index] / gradients[index - 1], 2.0**30 - 1))
