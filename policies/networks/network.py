"""Networks as pure functions of named parameters, with a trace of every layer's input and output.

Parameters are a flat dict; the parameter ``layer2.weight`` belongs to the layer ``layer2``. Parameters may carry a
leading task axis (one network per task); the inputs then carry it too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

Parameters = dict[str, Tensor]


class LayerTrace(NamedTuple):
    """What one layer saw: its input x_{l-1} and its output y_l before the activation function.

    A norm is traced as the affine map that its parameters make; its input is the normalised x_{l-1}.
    """

    input: Tensor
    output: Tensor


Trace = dict[str, LayerTrace]


Operation = Callable[[Tensor], Tensor]  # what a layer does with its parameters: x_{l-1} -> y_l
RunLayer = Callable[[str, Operation, Tensor], LayerTrace]


def run_layer(layer: str, operation: Operation, inputs: Tensor) -> LayerTrace:
    """Runs a layer as it is."""
    return LayerTrace(inputs, operation(inputs))


class Network(Protocol):
    """A feed-forward network.

    ``layer_names`` are in order from the input to the output; ``channels`` are each layer's input and output channels.
    Every layer goes through ``run``, which may change what the layer sees and what it passes on.
    """

    @property
    def layer_names(self) -> tuple[str, ...]: ...

    @property
    def channels(self) -> dict[str, tuple[int, int]]: ...

    def initial_parameters(self, generator: torch.Generator) -> Parameters: ...

    def __call__(self, parameters: Parameters, inputs: Tensor, run: RunLayer = run_layer) -> tuple[Tensor, Trace]: ...


def layer_of(parameter: str) -> str:
    """The layer that a parameter belongs to: ``layer2`` for ``layer2.weight``."""
    return parameter.rpartition(".")[0]
