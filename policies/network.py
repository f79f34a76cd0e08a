"""Networks as pure functions of named parameters, with a trace of every layer's input and output.

Parameters are a flat dict; the parameter ``layer2.weight`` belongs to the layer ``layer2``. Parameters may carry a
leading task axis (one network per task); the inputs then carry it too.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

Parameters = dict[str, Tensor]


class LayerTrace(NamedTuple):
    """What one layer saw: its input x_{l-1} and its output y_l before the activation function."""

    input: Tensor
    output: Tensor


Trace = dict[str, LayerTrace]


class Network(Protocol):
    """A feed-forward network.

    ``layer_names`` are in order from the input to the output; ``channels`` are each layer's input and output channels.
    """

    @property
    def layer_names(self) -> tuple[str, ...]: ...

    @property
    def channels(self) -> dict[str, tuple[int, int]]: ...

    def initial_parameters(self, generator: torch.Generator) -> Parameters: ...

    def __call__(self, parameters: Parameters, inputs: Tensor) -> tuple[Tensor, Trace]: ...


def layer_of(parameter: str) -> str:
    """The layer that a parameter belongs to: ``layer2`` for ``layer2.weight``."""
    return parameter.rpartition(".")[0]
