"""Masks of pruned weights: ``NAME.mask`` says which numbers of the weight NAME are kept.

A mask is float32 of the weight's shape, 1 where a number is kept and 0 where it is pruned, and stands among the
parameters. Pruned numbers are +0 and stay so: the inner step masks the weights that it starts from and those that it
returns, so that the meta-gradient and the Fisher products are zero there, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from metarl.core.errors import Refusal
from metarl.policies.networks.layers import Layer
from metarl.policies.networks.network import Network, Parameters

MASK = ".mask"


def is_mask(parameter: str) -> bool:
    """Return whether a parameter is the mask of another one."""
    return parameter.endswith(MASK)


def masks_of(parameters: Parameters) -> Parameters:
    """Return the masks by the name of the weight that each belongs to; none of a dense network."""
    return {name.removesuffix(MASK): tensor for name, tensor in parameters.items() if is_mask(name)}


def masked(parameters: Parameters) -> Parameters:
    """Return the parameters with +0 in place of each pruned weight; the same ones if nothing is pruned.

    A product with the mask would leave -0 where a weight is negative.
    """
    masks = masks_of(parameters)
    if not masks:
        return parameters
    return parameters | {
        name: torch.where(mask != 0, parameters[name], torch.zeros((), dtype=mask.dtype))
        for name, mask in masks.items()
    }


def weight_names(network: Network) -> tuple[str, ...]:
    """Return the names of the weights that can be pruned, in the order of the layers: no biases, norms or contexts."""
    return tuple(f"{layer.name}.weight" for layer in network.layers if not layer.is_norm)


def mask_shapes(network: Network) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the masks that a network may have, by name: integers have none."""
    types = network.parameter_types
    return {
        name + MASK: network.parameter_shapes[name] for name in weight_names(network) if types[name] == torch.float32
    }


def kept_weights(parameters: Parameters, network: Network) -> dict[str, int]:
    """Return how many weights of each layer are kept, by the layers' names."""
    masks = masks_of(parameters)
    return {
        name.removesuffix(".weight"): int(masks[name].sum()) if name in masks else parameters[name].numel()
        for name in weight_names(network)
    }


def masked_layers(layers: Sequence[Layer], parameters: Parameters) -> tuple[Layer, ...]:
    """Return the layers with the number of weights that the masks among the parameters prune."""
    pruned = {name: int((mask == 0).sum()) for name, mask in masks_of(parameters).items()}
    return tuple(replace(layer, pruned=pruned.get(f"{layer.name}.weight")) for layer in layers)


def sparsity(parameters: Parameters, network: Network) -> float:
    """Return the share of all weights that is pruned."""
    total = sum(parameters[name].numel() for name in weight_names(network))
    return 1 - sum(kept_weights(parameters, network).values()) / total


def pruned_count(parameters: Parameters) -> int:
    """Return how many numbers are pruned."""
    return sum(int((mask == 0).sum()) for mask in masks_of(parameters).values())


def check_masks(parameters: Parameters) -> None:
    """Raise Refusal unless every mask holds zeros and ones alone, and every pruned weight is zero."""
    for name, mask in masks_of(parameters).items():
        if not ((mask == 0) | (mask == 1)).all():
            raise Refusal(f"the parameter '{name}{MASK}' must hold zeros and ones alone")
        if parameters[name][mask == 0].any():
            raise Refusal(f"the parameter '{name}' has numbers that are not zero where '{name}{MASK}' prunes it")
