"""What travels to clients, and what they compute with: packed integers that become floats one layer at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from metarl.fleet.federated.quantizer import Quantized, pack, quantize, unpack
from metarl.fleet.federated.settings import FLOAT
from metarl.policies.networks.network import Network, Parameters

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Layout:
    """Which parameters there are, which of them are quantized, and which are trained; all agree on it beforehand."""

    shapes: Shapes
    quantized: tuple[str, ...]
    trained: tuple[str, ...]
    bits: int

    @property
    def floats(self) -> tuple[str, ...]:
        """The names of what travels as float32."""
        return tuple(name for name in sorted(self.shapes) if name not in self.quantized)

    def packed_bytes(self, name: str) -> int:
        """Return the bytes of a quantized parameter's integers."""
        return math.ceil(math.prod(self.shapes[name]) * self.bits / 8)

    @property
    def payload_bytes(self) -> int:
        """The bytes of all numbers that travel to a client: integers, a float32 scale for each matrix, float32."""
        integers = sum(self.packed_bytes(name) for name in self.quantized)
        return integers + 4 * len(self.quantized) + 4 * sum(math.prod(self.shapes[name]) for name in self.floats)


def layout_of(network: Network, parameters: Parameters, trained: tuple[str, ...], bits: int) -> Layout:
    """Return the layout: quantized are the weights of all layers but the last; norms and biases are floats.

    The source keeps its decoder in floats, too.
    """
    weights = [f"{layer.name}.weight" for layer in network.layers[:-1] if not layer.is_norm]
    shapes = {name: tuple(tensor.shape) for name, tensor in parameters.items()}
    return Layout(shapes, () if bits == FLOAT else tuple(sorted(weights)), trained, bits)


@dataclass(frozen=True)
class ClientWeights:
    """A model as a client holds it: integers, packed, with their scales, and the few parameters that are floats."""

    layout: Layout
    packed: Mapping[str, Tensor]  # uint8 [byte]
    scales: Mapping[str, Tensor]
    floats: Parameters

    def matrix(self, name: str) -> Tensor:
        """Return a quantized parameter's floats, made anew at each call."""
        integers = unpack(self.packed[name], self.layout.bits, tuple(self.layout.shapes[name]))
        return Quantized(integers, self.scales[name]).floats()

    def parameters(self) -> Parameters:
        """Return all parameters as floats."""
        return self.floats | {name: self.matrix(name) for name in self.packed}

    def tensors(self) -> list[Tensor]:
        """Return everything that is held."""
        return [*self.packed.values(), *self.scales.values(), *self.floats.values()]


def held(parameters: Parameters, layout: Layout, random: torch.Generator | None = None) -> ClientWeights:
    """Return parameters as clients hold them; ``random`` rounds by chance."""
    quantized = {name: quantize(parameters[name], layout.bits, random) for name in layout.quantized}
    return ClientWeights(
        layout,
        {name: pack(each.integers, layout.bits) for name, each in quantized.items()},
        {name: each.scale for name, each in quantized.items()},
        {name: parameters[name].detach() for name in layout.floats},
    )
