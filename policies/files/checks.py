"""Check that parameters are those of a network and of its method."""

from __future__ import annotations

import torch
from torch import Tensor

from metarl.core.errors import Refusal
from metarl.policies.attention import ATTENTION_BOUND, attention_rank, attention_shapes
from metarl.policies.compression.bases import bases_shapes, check_bases, coded_names
from metarl.policies.compression.masks import check_masks, mask_shapes, masks_of
from metarl.policies.gate import GATE, GATE_STATISTICS, gate_shapes
from metarl.policies.methods import (
    STEP_SIZES,
    Method,
    channel_step_size_shapes,
    check_context,
    check_on_device,
    meta_parameter_shapes,
)
from metarl.policies.networks.integers import IntegerMLP, check_integers
from metarl.policies.networks.network import Network, Parameters
from metarl.policies.networks.sizes import check_size
from metarl.policies.normalization import check_normalization, normalization_shapes


def check_parameters(parameters: Parameters, network: Network, inner_steps: int) -> None:
    """Raise Refusal unless these are all of the network's parameters, and no others but those of the inner loop.

    Their shapes and types must be right, and their numbers finite; the network must not be too large to be run.
    """
    check_size(network)
    required = network.parameter_shapes
    optional = {
        STEP_SIZES: (inner_steps, len(network.layer_names)),
        **attention_shapes(network.layers, rank=attention_rank(parameters)),
        ATTENTION_BOUND: (),
        **channel_step_size_shapes(network.layers, inner_steps),
        **gate_shapes(inner_steps),
        **mask_shapes(network),
        **bases_shapes(network, parameters),
        **(normalization_shapes(network.layers[0].inputs) if network.takes == "observations" else {}),
    }
    known = required | optional
    for name in parameters:
        if name not in known:
            first, last = network.layer_names[0], network.layer_names[-1]
            raise Refusal(
                f"unknown parameter '{name}': known are those of the layers {first} to {last}, {STEP_SIZES}, "
                f"{GATE}, observation statistics, masks and bases of weights, and attention"
            )
    for name, shape in known.items():
        if name in parameters:
            _check_parameter(name, parameters[name], shape, network.parameter_types.get(name, torch.float32))
        elif name in required:
            raise Refusal(f"the parameter '{name}' is missing")
    check_normalization(parameters)
    check_masks(parameters)
    check_bases(parameters)
    if masks_of(parameters).keys() & coded_names(parameters):
        raise Refusal("a weight has a mask or bases, not both")
    if isinstance(network, IntegerMLP):
        check_integers(parameters, network)
    if ATTENTION_BOUND in parameters and not parameters[ATTENTION_BOUND] > 0:
        raise Refusal(f"the parameter '{ATTENTION_BOUND}' must be positive, got {float(parameters[ATTENTION_BOUND]):g}")


def check_adaptable(parameters: Parameters, network: Network, method: Method, on_device: bool) -> None:
    """Raise Refusal if the inner loop lacks a parameter of the method, or if a device cannot run it ``on_device``.

    Args:
        parameters: The parameters of a file.
        network: Its network.
        method: Its method.
        on_device: Whether a device runs the inner loop.
    """
    check_context(method, network.layers)
    if on_device:
        check_on_device(method)
        if network.takes == "images" and coded_names(parameters):
            raise Refusal("an image network of binary bases has no inner step on a device")
    needed = [*meta_parameter_shapes(method, network.layers, inner_steps=1)]
    if GATE in parameters:
        needed.append(GATE_STATISTICS)
    for name in needed:
        if name not in parameters:
            raise Refusal(f"the controller cannot be adapted: {method.name} needs its '{name}'")


def _check_parameter(name: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Raise Refusal unless a parameter has that shape and type, and its numbers are finite."""
    if tuple(tensor.shape) != shape:
        raise Refusal(f"the parameter '{name}' must have the shape {list(shape)}, got {list(tensor.shape)}")
    if tensor.dtype != dtype:
        wanted, found = (str(each).removeprefix("torch.") for each in (dtype, tensor.dtype))
        raise Refusal(f"the parameter '{name}' must be {wanted}, got {found}")
    if not torch.isfinite(tensor).all():
        raise Refusal(f"the parameter '{name}' holds a NaN or an infinite number")
