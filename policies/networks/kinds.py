"""The kinds of layers: their parameters, what they compute, and their parameters' gradients. Pure functions.

Linear layers take [..., sample, channel]; convolutions and norms take [image, channel, height, width].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional
from torch.nn.grad import conv2d_weight

if TYPE_CHECKING:
    from metarl.policies.networks.layers import Layer

Norm = Literal["group", "batch"]
GROUPS = 8  # of the channels of a group norm

Activation = Literal["relu", "tanh"]  # between the layers of a policy
ContextSize = Annotated[int, Field(ge=0)]  # of a network's field: its context parameters, 0 for none

# What the fields of image networks allow: a side that can be halved four times, and channels that divide into groups.
Side = Annotated[int, Field(ge=16)]
Channels = Annotated[int, Field(ge=GROUPS, multiple_of=GROUPS)]

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Kind:
    """What the layers of one kind have in common.

    ``shapes`` gives the shapes of the parameters that ``compute`` takes after the input, by their names within the
    layer and in that order. ``initial_weight`` makes the first of them, ``weight``; the others start at zero.
    ``prepare`` makes the input that ``compute`` takes, and that a trace records, from the previous layer's output.
    ``gradients`` returns the parameters' gradients from that input and the gradient at the output g(y), summed over
    samples and positions and differentiable in both.
    """

    shapes: Callable[[Layer], dict[str, Shape]]
    initial_weight: Callable[[Shape, torch.Generator], Tensor]
    prepare: Callable[[Layer, Tensor], Tensor]
    compute: Callable[..., Tensor]
    gradients: Callable[[Layer, Tensor, Tensor], dict[str, Tensor]]
    normalizes: bool = False


def xavier_uniform(shape: Shape, generator: torch.Generator) -> Tensor:
    """Return uniform weights [output, input, ...] (Glorot and Bengio 2010, eq. 16)."""
    outputs, inputs, *kernel = shape
    bound = math.sqrt(6 / ((inputs + outputs) * math.prod(kernel)))
    return (torch.rand(shape, generator=generator) * 2 - 1) * bound


def linear(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return y = W x + b, for one network or, with a leading task axis everywhere, for one per task."""
    return torch.matmul(inputs, weight.mT) + bias.unsqueeze(-2)


def convolution(inputs: Tensor, weight: Tensor) -> Tensor:
    """Convolve with a weight [output, input, kernel, kernel] at stride 1, padded so that height and width stay."""
    return functional.conv2d(inputs, weight, padding=weight.shape[-1] // 2)


def affine(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Apply a norm's scales and offsets [channel] to its normalized input."""
    return inputs * weight[:, None, None] + bias[:, None, None]


def group_normalized(inputs: Tensor) -> Tensor:
    """Return mean 0 and variance 1 for each image and group of channels (Wu and He 2018)."""
    return functional.group_norm(inputs, GROUPS)


def batch_normalized(inputs: Tensor) -> Tensor:
    """Return mean 0 and variance 1 for each channel over these images, in training and afterwards."""
    return functional.batch_norm(inputs, None, None, training=True)


def _as_vectors(layer: Layer, inputs: Tensor) -> Tensor:
    if layer.reduction == "flatten":
        return inputs.flatten(1)
    return inputs.mean(dim=(2, 3)) if layer.reduction == "average" else inputs


def _linear_gradients(layer: Layer, inputs: Tensor, at_output: Tensor) -> dict[str, Tensor]:
    return {"weight": at_output.mT @ inputs, "bias": at_output.sum(dim=0)}


def _convolution_gradients(layer: Layer, inputs: Tensor, at_output: Tensor) -> dict[str, Tensor]:
    shape = layer.outputs, layer.inputs, layer.kernel, layer.kernel
    return {"weight": conv2d_weight(inputs, shape, at_output, padding=layer.kernel // 2)}


def _norm_gradients(layer: Layer, inputs: Tensor, at_output: Tensor) -> dict[str, Tensor]:
    return {"weight": (at_output * inputs).sum(dim=(0, 2, 3)), "bias": at_output.sum(dim=(0, 2, 3))}


def _norm(normalized: Callable[[Tensor], Tensor]) -> Kind:
    return Kind(
        shapes=lambda layer: {"weight": (layer.outputs,), "bias": (layer.outputs,)},
        initial_weight=lambda shape, generator: torch.ones(shape),
        prepare=lambda layer, inputs: normalized(inputs),
        compute=affine,
        gradients=_norm_gradients,
        normalizes=True,
    )


KINDS = {
    "linear": Kind(
        shapes=lambda layer: {"weight": (layer.outputs, layer.inputs), "bias": (layer.outputs,)},
        initial_weight=xavier_uniform,
        prepare=_as_vectors,
        compute=linear,
        gradients=_linear_gradients,
    ),
    # Convolutions have no bias, for a norm follows them.
    "convolution": Kind(
        shapes=lambda layer: {"weight": (layer.outputs, layer.inputs, layer.kernel, layer.kernel)},
        initial_weight=xavier_uniform,
        prepare=lambda layer, inputs: inputs,
        compute=convolution,
        gradients=_convolution_gradients,
    ),
    "group_norm": _norm(group_normalized),
    "batch_norm": _norm(batch_normalized),
}
