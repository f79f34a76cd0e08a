"""Whether parameters are those of a network and of its method: what a file holds is not taken on trust."""

from __future__ import annotations

import torch
from torch import Tensor

from metarl.core.errors import Refusal
from metarl.policies.attention import attention_shapes
from metarl.policies.gate import GATE, GATE_STATISTICS, gate_shapes
from metarl.policies.methods import STEP_SIZES, Method, channel_step_size_shapes, check_on_device
from metarl.policies.networks.network import Network, Parameters


def check_parameters(parameters: Parameters, network: Network, inner_steps: int) -> None:
    """ValueError unless these are all of the network's parameters, and others none but those of the inner loop.

    Their shapes must be right, and their numbers finite float32.
    """
    required = network.parameter_shapes
    optional = {
        STEP_SIZES: (inner_steps, len(network.layer_names)),
        **attention_shapes(network.layers),
        **channel_step_size_shapes(network.layers, inner_steps),
        **gate_shapes(inner_steps),
    }
    known = required | optional
    for name in parameters:
        if name not in known:
            first, last = network.layer_names[0], network.layer_names[-1]
            raise Refusal(
                f"unknown parameter '{name}': known are those of the layers {first} to {last}, {STEP_SIZES}, "
                f"{GATE} and attention"
            )
    for name, shape in known.items():
        if name in parameters:
            _check_parameter(name, parameters[name], shape)
        elif name in required:
            raise Refusal(f"the parameter '{name}' is missing")


def check_adaptable(parameters: Parameters, network: Network, method: Method, on_device: bool) -> None:
    """ValueError if the inner loop lacks what the method needs, or ``on_device`` if that cannot take its steps."""
    if on_device:
        check_on_device(method)
    attended = network.layers[:-1]
    sides = method.attention.clips() if method.attention else {}
    needed = [STEP_SIZES, *(name for name in attention_shapes(attended) if name.split(".")[-3] in sides)]
    if method.channel_step_sizes:
        needed += channel_step_size_shapes(attended, 1)
    if GATE in parameters:
        needed.append(GATE_STATISTICS)
    for name in needed:
        if name not in parameters:
            raise Refusal(f"the controller cannot be adapted: {method.name} needs its '{name}'")


def _check_parameter(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != shape:
        raise Refusal(f"the parameter '{name}' must have the shape {list(shape)}, got {list(tensor.shape)}")
    if tensor.dtype != torch.float32:
        raise Refusal(f"the parameter '{name}' must be float32, got {str(tensor.dtype).removeprefix('torch.')}")
    if not torch.isfinite(tensor).all():
        raise Refusal(f"the parameter '{name}' holds a NaN or an infinite number")
