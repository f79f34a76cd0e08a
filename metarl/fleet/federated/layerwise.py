"""A client's forward and backward pass in which one layer's weights are floats at a time.

Each layer is a checkpoint: what it computes is computed again in the backward pass, its float weights among it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from metarl.fleet.federated.quantizer import quantize
from metarl.fleet.federated.settings import FLOAT
from metarl.fleet.federated.weights import ClientWeights
from metarl.policies.networks.network import LayerTrace, Network, Operation, Parameters


def layerwise_gradients(
    network: Network,
    weights: ClientWeights,
    inputs: Tensor,
    activation_bits: int,
    loss: Callable[[Tensor], Tensor],
) -> tuple[Parameters, Tensor]:
    """Return the gradient of a loss with respect to the weights that a client holds, and the network's outputs.

    Args:
        network: The network.
        weights: Its parameters, as a client holds them.
        inputs: The network's inputs.
        activation_bits: Bits of the inputs of those layers whose weights are quantized; 32 for floats.
        loss: From the outputs to a number.

    Returns:
        The gradient of each of the network's parameters that is trained; roundings count as the identity.
    """
    gradients: Parameters = {}
    token = torch.zeros((), requires_grad=True)
    floats = {name: tensor.requires_grad_() for name, tensor in detached(weights.floats, network).items()}

    def matrix(name: str) -> Tensor:
        made: Tensor = _Matrix.apply(token, weights, name, gradients)  # type: ignore[no-untyped-call]
        return made

    outputs = run_layers(network, weights, floats, inputs, activation_bits, matrix)
    names = [name for name in floats if name in weights.layout.trained]
    value = loss(outputs)
    # The token's gradient is asked for, so that autograd passes the matrices, whose own are noted on the way.
    *of_floats, _ = torch.autograd.grad(value, [*(floats[name] for name in names), token], allow_unused=True)
    gradients |= {
        name: torch.zeros_like(floats[name]) if each is None else each
        for name, each in zip(names, of_floats, strict=True)
    }
    return gradients, outputs.detach()


@torch.no_grad()
def layerwise_outputs(network: Network, weights: ClientWeights, inputs: Tensor, activation_bits: int) -> Tensor:
    """Return the network's outputs, computed as ``layerwise_gradients`` does."""
    floats = detached(weights.floats, network)
    return run_layers(network, weights, floats, inputs, activation_bits, weights.matrix)


def detached(floats: Parameters, network: Network) -> Parameters:
    """Return the network's own parameters among those that are floats, without history."""
    return {name: tensor.detach() for name, tensor in floats.items() if name in network.parameter_shapes}


def run_layers(
    network: Network,
    weights: ClientWeights,
    floats: Parameters,
    inputs: Tensor,
    activation_bits: int,
    matrix: Callable[[str], Tensor],
) -> Tensor:
    """Return the network's outputs; ``matrix`` makes the weights of a quantized layer where they are needed."""
    layers = {layer.name: layer for layer in network.layers}
    nothing = {name: torch.empty(0) for name in weights.packed}

    def run(name: str, operation: Operation, inputs: Tensor) -> LayerTrace:
        weight = f"{name}.weight"
        if weight not in weights.packed:
            return LayerTrace(inputs, operation(inputs))

        def compute(inputs: Tensor) -> Tensor:
            seen = inputs if activation_bits == FLOAT else rounded(inputs, activation_bits)
            return layers[name].operation(floats | {weight: matrix(weight)})(seen)

        if not torch.is_grad_enabled():
            return LayerTrace(inputs, compute(inputs))
        output: Any = checkpoint(compute, inputs, use_reentrant=False, preserve_rng_state=False)
        return LayerTrace(inputs, output)

    return network(floats | nothing, inputs, run)[0]


def rounded(inputs: Tensor, bits: int) -> Tensor:
    """Return the inputs rounded to integers times a scale of their own; gradients pass through."""
    output: Tensor = _Rounded.apply(inputs, bits)  # type: ignore[no-untyped-call]
    return output


class _Matrix(torch.autograd.Function):
    """A quantized layer's float weights, whose gradient is noted by name and not kept by autograd."""

    @staticmethod
    def forward(ctx: Any, token: Tensor, weights: ClientWeights, name: str, gradients: Parameters) -> Tensor:
        ctx.name, ctx.gradients = name, gradients
        return weights.matrix(name)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        ctx.gradients[ctx.name] = gradient
        return torch.zeros(()), None, None, None


class _Rounded(torch.autograd.Function):
    """Rounding that passes gradients through."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, bits: int) -> Tensor:
        return quantize(inputs, bits).floats()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None
