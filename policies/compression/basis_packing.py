"""Weights of binary bases in a file: a bit for each sign, the coordinates, and how many bases each group has."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from metarl.core.errors import Refusal
from metarl.policies.compression.bases import (
    ALPHAS,
    CODES,
    MOST_BASES,
    Bases,
    as_parameters,
    bases_of,
    coded_names,
    fitting,
    is_basis,
)
from metarl.policies.networks.network import Network, Parameters
from metarl.policies.networks.sizes import check_size

COUNTS = ".bases"


def packed_bases(parameters: Parameters) -> Parameters:
    """Return the tensors of a file: of each weight NAME with bases, in place of it,

    ``NAME.bases`` uint8 [*group], how many bases each group has; ``NAME.alphas`` float32 [coordinate], group by group;
    ``NAME.codes`` uint8, a bit for each sign, 1 for +1, basis by basis of each group, the lowest bit of a byte first.
    """
    names = coded_names(parameters)
    tensors = {name: each for name, each in parameters.items() if name not in names and not is_basis(name)}
    for name in names:
        bases, groups = bases_of(parameters, name), parameters[name + ALPHAS].shape[1:]
        signs = bases.codes.mT[bases.present] > 0
        tensors |= {
            name + COUNTS: bases.present.sum(dim=1).to(torch.uint8).reshape(groups),
            name + ALPHAS: bases.alphas[bases.present].detach(),
            name + CODES: torch.from_numpy(np.packbits(signs.flatten().numpy(), bitorder="little")),
        }
    return tensors


def unpacked_bases(tensors: Parameters, network: Network) -> Parameters:
    """Return the parameters of a file, the inverse of ``packed_bases``; raise Refusal if they do not match."""
    check_size(network)
    names = [name.removesuffix(COUNTS) for name in tensors if name.endswith(COUNTS)]
    parts = {name + part for name in names for part in (COUNTS, ALPHAS, CODES)}
    parameters = {name: each for name, each in tensors.items() if name not in parts}
    if not names:
        raise Refusal("a file of binary bases must have some")
    for name in names:
        if name not in network.parameter_shapes:
            raise Refusal(f"the bases '{name}{COUNTS}' belong to no parameter of the network")
        if name in tensors or not {name + ALPHAS, name + CODES} <= tensors.keys():
            raise Refusal(f"'{name}{COUNTS}' must come with '{name}{ALPHAS}' and '{name}{CODES}', and without '{name}'")
        shape = network.parameter_shapes[name]
        counts = _counts(name + COUNTS, tensors[name + COUNTS], shape)
        bases = _bases(name, counts.flatten(), math.prod(shape) // counts.numel(), tensors)
        parameters |= as_parameters(name, bases, shape, counts.shape)
    return parameters


def _counts(name: str, counts: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return how many bases each group has [*group], checked."""
    if counts.dtype != torch.uint8 or not fitting(counts.shape, shape):
        raise Refusal(f"'{name}' must be uint8 with groups along whole axes of {list(shape)}")
    if (counts > MOST_BASES).any():
        raise Refusal(f"'{name}' has a group of {int(counts.max())} bases, at most {MOST_BASES} are allowed")
    return counts.long()


def _bases(name: str, counts: Tensor, size: int, tensors: Parameters) -> Bases:
    """Return the bases of a weight's groups.

    Args:
        name: The weight's name.
        counts: How many bases each group has [group].
        size: The numbers of a group.
        tensors: The tensors of the file.
    """
    alphas, packed, total = tensors[name + ALPHAS], tensors[name + CODES], int(counts.sum())
    if alphas.dtype != torch.float32 or tuple(alphas.shape) != (total,):
        raise Refusal(f"'{name}{ALPHAS}' must be float32 [{total}], a coordinate for each basis")
    if not torch.isfinite(alphas).all():
        raise Refusal(f"'{name}{ALPHAS}' holds a NaN or an infinite number")
    length = -(-total * size // 8)
    if packed.dtype != torch.uint8 or tuple(packed.shape) != (length,):
        raise Refusal(f"'{name}{CODES}' must be uint8 [{length}], a bit for each of {total * size} signs")
    bits = np.unpackbits(packed.numpy(), bitorder="little")
    if bits[total * size :].any():
        raise Refusal(f"'{name}{CODES}' has bits set behind its last sign")
    most = max(1, int(counts.max()))
    present = torch.arange(most) < counts[:, None]
    codes = torch.zeros(len(counts), most, size)
    codes[present] = torch.from_numpy(bits[: total * size].astype(np.float32)).reshape(total, size) * 2 - 1
    coordinates = torch.zeros(len(counts), most)
    coordinates[present] = alphas
    return Bases(codes.mT.contiguous(), coordinates)
