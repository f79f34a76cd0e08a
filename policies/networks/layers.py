"""The kinds of layers: what they compute, and their parameters' gradients from what they saw. Pure functions.

Fully-connected layers take [..., sample, channel]; convolutions and norms take [image, channel, height, width].
"""

from __future__ import annotations

import math
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.grad import conv2d_weight

from metarl.policies.networks.network import Operation, Parameters

Norm = Literal["group", "batch"]
GROUPS = 8


class Layer(NamedTuple):
    """A layer of a convolutional network; a norm has as many outputs as inputs."""

    name: str
    kind: Literal["fc", "conv", "norm"]
    inputs: int
    outputs: int
    kernel: int = 1

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """A convolution has no bias, for a norm follows it."""
        if self.kind == "conv":
            return {f"{self.name}.weight": (self.outputs, self.inputs, self.kernel, self.kernel)}
        weight = (self.outputs, self.inputs) if self.kind == "fc" else (self.outputs,)
        return {f"{self.name}.weight": weight, f"{self.name}.bias": (self.outputs,)}

    def initial_parameters(self, generator: torch.Generator) -> Parameters:
        """Xavier-uniform weights, a norm's ones, and zero biases."""
        parameters = {name: torch.zeros(shape) for name, shape in self.parameter_shapes.items()}
        weight = parameters[f"{self.name}.weight"]
        initial = torch.ones_like(weight) if self.kind == "norm" else xavier_uniform(weight.shape, generator)
        return parameters | {f"{self.name}.weight": initial}


class LayeredNetwork:
    """What follows from the layers of a convolutional network alone."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """In the order in which a forward pass runs them."""
        raise NotImplementedError

    @property
    def layer_names(self) -> tuple[str, ...]:
        return tuple(layer.name for layer in self.layers)

    @property
    def channels(self) -> dict[str, tuple[int, int]]:
        """The input and output channels of every layer, by name and in order."""
        return {layer.name: (layer.inputs, layer.outputs) for layer in self.layers}

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter, in the order of the layers."""
        return {name: shape for layer in self.layers for name, shape in layer.parameter_shapes.items()}

    def initial_parameters(self, generator: torch.Generator) -> Parameters:
        """Xavier-uniform weights, norms that change nothing, zero biases."""
        return {name: tensor for layer in self.layers for name, tensor in layer.initial_parameters(generator).items()}


def check_images(side: int, ways: int) -> None:
    """ValueError unless images of that side can be halved four times and told apart."""
    if side < 16:
        raise ValueError(f"images are halved four times, so their side must be at least 16, got {side}")
    if ways < 1:
        raise ValueError(f"the number of classes (ways) must be at least 1, got {ways}")


def xavier_uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Weights [output, input, ...] of uniform numbers (Glorot and Bengio 2010, eq. 16)."""
    outputs, inputs, *kernel = shape
    bound = math.sqrt(6 / ((inputs + outputs) * math.prod(kernel)))
    return (torch.rand(shape, generator=generator) * 2 - 1) * bound


def operation(parameters: Parameters, layer: str) -> Operation:
    """What the layer of that name does with its parameters, which are one network's."""
    weight, bias = parameters[f"{layer}.weight"], parameters.get(f"{layer}.bias")
    if bias is None:
        return partial(convolution, weight=weight)
    return partial(fully_connected if weight.dim() == 2 else affine, weight=weight, bias=bias)


def fully_connected(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """y = W x + b, for one network or, with a leading axis everywhere, for one per task."""
    return torch.matmul(inputs, weight.mT) + bias.unsqueeze(-2)


def convolution(inputs: Tensor, weight: Tensor) -> Tensor:
    """The convolution with a ``weight`` [output, input, kernel, kernel], padded so that the size stays."""
    return functional.conv2d(inputs, weight, padding=weight.shape[-1] // 2)


def affine(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A norm's scales and offsets [channel], applied to its normalised input."""
    return inputs * weight[:, None, None] + bias[:, None, None]


def normalized(inputs: Tensor, norm: Norm) -> Tensor:
    """Mean 0 and variance 1, of each image and group of channels or of each channel over all images.

    Group norm (Wu and He 2018) does not depend on the other images. Batch norm takes the statistics of these images,
    in training and afterwards.
    """
    if norm == "group":
        return functional.group_norm(inputs, GROUPS)
    return functional.batch_norm(inputs, None, None, training=True)


def parameter_gradients(weight: Tensor, inputs: Tensor, at_output: Tensor) -> Parameters:
    """dL/dw and dL/db, where there is a bias, from a layer's traced input and the gradient at its output g(y).

    Sums over samples and positions; differentiable in both arguments. The kind of layer is told by its ``weight``.
    """
    if weight.dim() == 4:
        padding = weight.shape[-1] // 2
        return {"weight": conv2d_weight(inputs, weight.shape, at_output, padding=padding)}
    if weight.dim() == 2:
        return {"weight": at_output.mT @ inputs, "bias": at_output.sum(dim=0)}
    return {"weight": (at_output * inputs).sum(dim=(0, 2, 3)), "bias": at_output.sum(dim=(0, 2, 3))}
