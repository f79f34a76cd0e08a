"""Masked weights in a file: a bit for each number that says whether it is kept, and the kept numbers alone."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from metarl.core.errors import Refusal
from metarl.policies.compression.masks import MASK, is_mask, masks_of
from metarl.policies.networks.network import Network, Parameters
from metarl.policies.networks.sizes import check_size

KEPT = ".kept"


def packed(parameters: Parameters) -> Parameters:
    """Return the tensors of a file: of each masked weight NAME, ``NAME.mask`` in bits and ``NAME.kept``.

    The bits are uint8 [ceil(n / 8)], row-major, the lowest bit of a byte first.
    """
    masks = masks_of(parameters)
    tensors = {name: each for name, each in parameters.items() if name not in masks and not is_mask(name)}
    for name, mask in masks.items():
        kept = mask != 0
        bits = np.packbits(kept.flatten().numpy(), bitorder="little")
        tensors |= {name + MASK: torch.from_numpy(bits), name + KEPT: parameters[name].detach()[kept]}
    return tensors


def unpacked(tensors: Parameters, network: Network) -> Parameters:
    """Return the parameters of a file, the inverse of ``packed``; raise Refusal if they do not match."""
    check_size(network)
    bits = {name: tensor for name, tensor in tensors.items() if is_mask(name)}
    stored = {name.removesuffix(MASK) + KEPT for name in bits}
    parameters = {name: tensor for name, tensor in tensors.items() if name not in bits and name not in stored}
    for name, each in bits.items():
        weight = name.removesuffix(MASK)
        if weight not in network.parameter_shapes:
            raise Refusal(f"the mask '{name}' belongs to no parameter of the network")
        if weight in tensors or weight + KEPT not in tensors:
            raise Refusal(f"the mask '{name}' must come with '{weight}{KEPT}' and without '{weight}'")
        mask = _mask(name, each, network.parameter_shapes[weight])
        parameters |= {name: mask, weight: _scattered(weight + KEPT, tensors[weight + KEPT], mask)}
    return parameters


def _mask(name: str, bits: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return the mask that the bits of a file describe."""
    count = math.prod(shape)
    size = -(-count // 8)
    if bits.dtype != torch.uint8 or tuple(bits.shape) != (size,):
        raise Refusal(f"the mask '{name}' must be uint8 [{size}], a bit for each of {count} numbers")
    flags = np.unpackbits(bits.numpy(), bitorder="little")
    if flags[count:].any():
        raise Refusal(f"the mask '{name}' has bits set behind its last number")
    return torch.from_numpy(flags[:count].astype(np.float32)).reshape(shape)


def _scattered(name: str, kept: Tensor, mask: Tensor) -> Tensor:
    """Return the weight with its kept numbers in their places and +0 elsewhere."""
    count = int(mask.sum())
    if kept.dtype != torch.float32 or tuple(kept.shape) != (count,):
        raise Refusal(f"'{name}' must be float32 [{count}], as many numbers as its mask keeps")
    weight = torch.zeros_like(mask)
    weight[mask != 0] = kept
    return weight
