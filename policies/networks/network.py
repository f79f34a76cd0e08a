"""Networks as pure functions of named parameters, with a trace of every layer's input and output.

Parameters are a flat dict; the parameter ``layer2.weight`` belongs to the layer ``layer2``. Parameters may carry a
leading task axis (one network per task); the inputs then carry it too.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import Field
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from metarl.policies.networks.kinds import Norm, Shape
from metarl.policies.networks.layers import Layer

Parameters = dict[str, Tensor]


class LayerTrace(NamedTuple):
    """A layer's input x_{l-1} and its output y_l before the activation.

    A norm is traced as the affine map that its parameters make; its input is the normalized x_{l-1}.
    """

    input: Tensor
    output: Tensor


Trace = dict[str, LayerTrace]
Operation = Callable[[Tensor], Tensor]  # what a layer does with its parameters: x_{l-1} -> y_l
RunLayer = Callable[[str, Operation, Tensor], LayerTrace]


def run_layer(layer: str, operation: Operation, inputs: Tensor) -> LayerTrace:
    """Run a layer unchanged."""
    return LayerTrace(inputs, operation(inputs))


class Network(Protocol):
    """A feed-forward network: a frozen dataclass that states its ``layers`` once; everything else follows from them.

    ``takes`` says what the network is for: a policy's observations [..., sample, channel], or images
    [image, channel, height, width].
    """

    takes: ClassVar[Literal["observations", "images"]]
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    @abstractmethod
    def layers(self) -> tuple[Layer, ...]:
        """The layers in the order in which a forward pass runs them."""

    @cached_property
    def layer_names(self) -> tuple[str, ...]:
        """The names of the layers, in their order."""
        return tuple(layer.name for layer in self.layers)

    @cached_property
    def parameter_shapes(self) -> dict[str, Shape]:
        """The shape of every parameter by its name, in the order of the layers."""
        return {name: shape for layer in self.layers for name, shape in layer.parameter_shapes.items()}

    @cached_property
    def parameter_types(self) -> dict[str, torch.dtype]:
        """The type of every parameter by its name."""
        return {name: layer.dtype for layer in self.layers for name in layer.parameter_shapes}

    def initial_parameters(self, generator: torch.Generator) -> Parameters:
        """Return Xavier-uniform weights, norms that change nothing, and zero biases."""
        return {name: tensor for layer in self.layers for name, tensor in layer.initial_parameters(generator).items()}

    def __call__(self, parameters: Parameters, inputs: Tensor, run: RunLayer = run_layer) -> tuple[Tensor, Trace]:
        """Return the last layer's output and the trace of all layers.

        Every layer goes through ``run``, which may change what the layer sees and what it passes on.
        """
        trace: Trace = {}
        hidden = inputs
        waiting: list[Tensor] = []  # residual blocks' inputs, then their main branches' outputs
        for layer in self.layers:
            if layer.residual == "fork":
                waiting.append(hidden)
            elif layer.residual == "shortcut":
                hidden, waiting[-1] = waiting[-1], hidden
            traced = trace[layer.name] = run(layer.name, layer.operation(parameters), layer.prepare(hidden))
            hidden = waiting.pop() + traced.output if layer.residual == "join" else traced.output
            hidden = layer.finish(hidden)
        return hidden, trace


class ImageNetwork(Network, Protocol):
    """Any network for images [image, 3, side, side] that returns the logits [image, way]."""

    @property
    def side(self) -> int:
        """Height and width of the images."""

    @property
    def ways(self) -> int:
        """The classes to tell apart."""

    @property
    def norm(self) -> Norm:
        """The normalization after its convolutions."""


def layer_of(parameter: str) -> str:
    """Return the layer that a parameter belongs to: ``layer2`` for ``layer2.weight``."""
    return parameter.rpartition(".")[0]
