"""Multi-bit weights: a weight is a sum of binary bases times coordinates (ALQ, ch. 2 of Qu's thesis).

The numbers of a weight fall into groups, and each group w has bases of its own: w = sum_i alpha_i beta_i, where beta_i
holds -1 and +1. Beside the weight NAME, which stays among the parameters, stand

* ``NAME.codes`` [basis, *weight], float32: the numbers of beta_i, all 0 where a group has no i-th basis, and
* ``NAME.alphas`` [basis, *group], float32: the coordinates alpha_i. Its axes are those of the weight, of size 1 where a
  group extends along the whole axis. A row of a matrix has the groups [output, 1], a column [1, input].

What adapts are the coordinates: the weight of a layer is codes times alphas, before and after an inner step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from metarl.core.errors import Refusal
from metarl.policies.compression.masks import masked_layers, weight_names
from metarl.policies.networks.layers import Coded, Layer
from metarl.policies.networks.network import Network, Parameters

CODES, ALPHAS = ".codes", ".alphas"
MOST_BASES = 8
FEWEST = 32  # numbers of a group below which its coordinates take as much as its codes

GroupKind = Literal["auto", "row", "kernel", "channel"]


@dataclass(frozen=True)
class Bases:
    """The bases of all groups of a weight, by groups.

    ``codes`` B [group, number, basis] are -1 and +1, or 0 in all numbers of a basis that a group lacks; ``alphas``
    [group, basis] are the coordinates, 0 there.
    """

    codes: Tensor
    alphas: Tensor

    @property
    def present(self) -> Tensor:
        """Whether a group has a basis [group, basis]."""
        return self.codes[:, 0] != 0

    @property
    def weights(self) -> Tensor:
        """The numbers of the weight [group, number]."""
        return torch.matmul(self.codes, self.alphas.unsqueeze(-1)).squeeze(-1)

    @property
    def size(self) -> int:
        """The numbers of a group."""
        return self.codes.shape[1]

    @property
    def coordinates(self) -> int:
        """The coordinates of all groups."""
        return int(self.present.sum())

    def along(self, gradients: Tensor) -> Tensor:
        """Return B^T d [group, basis] of d [group, number]: the gradients of the coordinates."""
        return torch.matmul(gradients.unsqueeze(1), self.codes).squeeze(1)


def is_basis(parameter: str) -> bool:
    """Return whether a parameter holds the codes or the coordinates of another one."""
    return parameter.endswith((CODES, ALPHAS))


def coded_names(parameters: Mapping[str, object]) -> tuple[str, ...]:
    """Return the names of the weights that have bases."""
    return tuple(name.removesuffix(CODES) for name in parameters if name.endswith(CODES))


def realized(parameters: Parameters) -> Parameters:
    """Return the parameters with codes times coordinates in place of each weight that has them."""
    return parameters | {name: weight_of(parameters, name) for name in coded_names(parameters)}


def weight_of(parameters: Parameters, name: str) -> Tensor:
    """Return the sum over the bases of coordinates times codes."""
    return (parameters[name + CODES] * parameters[name + ALPHAS]).sum(dim=0)


def along_bases(gradients: Parameters, parameters: Parameters) -> Parameters:
    """Return the gradients with those of coordinates, and what a step along these changes of the weights.

    dL/dalpha_i = beta_i^T dL/dw, and a step -s dL/dalpha of the coordinates changes the weight by -s sum_i beta_i
    dL/dalpha_i. Gradients of weights without bases stay as they are.

    Args:
        gradients: Of one layer's parameters, by their full names.
        parameters: The parameters of one task, with codes and coordinates.
    """
    moved: Parameters = {}
    for name in gradients:
        codes = parameters.get(name + CODES)
        if codes is None:
            continue
        of_alphas = summed_like(codes * gradients[name], parameters[name + ALPHAS])
        moved |= {name: (codes * of_alphas).sum(dim=0), name + ALPHAS: of_alphas}
    return gradients | moved


def summed_like(values: Tensor, alphas: Tensor) -> Tensor:
    """Return values [basis, *weight] summed over each group, in the shape of the coordinates."""
    axes = [axis for axis, size in enumerate(alphas.shape) if size == 1 and values.shape[axis] != 1]
    return values.sum(dim=axes, keepdim=True) if axes else values


def group_shape(shape: Sequence[int], kind: GroupKind, name: str) -> tuple[int, ...]:
    """Return the shape of a weight's groups: its axes, of size 1 where a group extends along them.

    Args:
        shape: The weight's shape [output, input, ...].
        kind: A ``row`` is what one output or filter sees, a ``channel`` what one input feeds, a ``kernel`` the
            numbers between an input and an output channel of a convolution. ``auto`` takes rows of at least FEWEST
            numbers, and channels where rows are shorter and channels are longer than they.
        name: The weight's name in the sentence.
    """
    outputs, inputs, *kernel = shape
    row, channel = math.prod(shape[1:]), outputs * math.prod(kernel)
    if kind == "auto":
        kind = "channel" if row < FEWEST and channel > row else "row"
    if kind == "kernel" and math.prod(kernel) == 1:
        raise Refusal(
            f"groups of kernels do not divide {name.removesuffix('.weight')}, which has none of more than one number: "
            "take --group row or channel"
        )
    ones = [1] * len(kernel)
    return {"row": (outputs, 1, *ones), "channel": (1, inputs, *ones), "kernel": (outputs, inputs, *ones)}[kind]


def grouped(tensor: Tensor, groups: Sequence[int]) -> Tensor:
    """Return a tensor of a weight's shape by groups [group, number], groups of the shape ``groups``."""
    order = _order(groups)
    return tensor.permute(order).reshape(math.prod(groups), -1)


def ungrouped(numbers: Tensor, shape: Sequence[int], groups: Sequence[int]) -> Tensor:
    """Return numbers [group, number] in a weight's shape, the inverse of ``grouped``."""
    order = _order(groups)
    inverse = [order.index(axis) for axis in range(len(order))]
    return numbers.reshape([shape[axis] for axis in order]).permute(inverse).contiguous()


def _order(groups: Sequence[int]) -> list[int]:
    """Return the axes with more than one group, then the others."""
    axes = range(len(groups))
    return [axis for axis in axes if groups[axis] != 1] + [axis for axis in axes if groups[axis] == 1]


def bases_of(parameters: Parameters, name: str) -> Bases:
    """Return the bases of a weight by its groups."""
    codes, alphas = parameters[name + CODES], parameters[name + ALPHAS]
    by_group = torch.stack([grouped(each, alphas.shape[1:]) for each in codes], dim=-1)
    return Bases(by_group, alphas.flatten(1).mT)


def as_parameters(name: str, bases: Bases, shape: Sequence[int], groups: Sequence[int]) -> Parameters:
    """Return the parameters of a weight with bases, the inverse of ``bases_of``; those present stand first.

    Args:
        name: The weight's name.
        bases: Its bases.
        shape: Its shape.
        groups: The shape of its groups.
    """
    bases = compact(bases)
    codes = torch.stack([ungrouped(each, shape, groups) for each in bases.codes.unbind(dim=-1)])
    alphas = bases.alphas.mT.reshape(-1, *groups)
    parts = {name + CODES: codes.contiguous(), name + ALPHAS: alphas.contiguous()}
    return parts | {name: weight_of(parts, name)}


def compact(bases: Bases) -> Bases:
    """Return the bases with those that are present first, in their order, and room for no more than some group has."""
    present = bases.present
    order = present.int().argsort(dim=1, descending=True, stable=True)
    count = max(1, int(present.sum(dim=1).max()))
    order = order[:, :count]
    codes = bases.codes.gather(2, order[:, None].expand(-1, bases.size, -1))
    return Bases(codes, bases.alphas.gather(1, order))


def average_bits(bases: Sequence[Bases]) -> float:
    """Return the bases of a weight's number, averaged over all numbers."""
    return sum(each.coordinates * each.size for each in bases) / sum(each.codes[..., 0].numel() for each in bases)


def layer_bits(parameters: Parameters) -> dict[str, float]:
    """Return the average number of bases of each weight that has some, by its layer's name."""
    names = coded_names(parameters)
    return {name.removesuffix(".weight"): average_bits([bases_of(parameters, name)]) for name in names}


def stored_layers(layers: Sequence[Layer], parameters: Parameters) -> tuple[Layer, ...]:
    """Return the layers with what the masks and bases among the parameters leave to be stored of their weights."""
    found = {name: bases_of(parameters, name) for name in coded_names(parameters)}
    return tuple(
        replace(layer, coded=_coded(found[f"{layer.name}.weight"])) if f"{layer.name}.weight" in found else layer
        for layer in masked_layers(layers, parameters)
    )


def _coded(bases: Bases) -> Coded:
    return Coded(bases.coordinates, bases.coordinates * bases.size, len(bases.codes))


def bases_shapes(network: Network, parameters: Parameters) -> dict[str, tuple[int, ...]]:
    """Return the shapes that the codes and coordinates among the parameters must have, by name.

    How many bases there are, and along which axes a group extends, is told by the coordinates.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for name in weight_names(network):
        alphas, weight = parameters.get(name + ALPHAS), network.parameter_shapes[name]
        if (alphas is None) != (name + CODES not in parameters):
            raise Refusal(f"the codes and the coordinates of '{name}' must come together")
        if alphas is None:
            continue
        count, *groups = alphas.shape
        fits = fitting(groups, weight)
        if not fits or not 1 <= count <= MOST_BASES:
            raise Refusal(
                f"'{name}{ALPHAS}' must have 1 to {MOST_BASES} bases, and groups along whole axes of {list(weight)}"
            )
        shapes |= {name + CODES: (count, *weight), name + ALPHAS: tuple(alphas.shape)}
    return shapes


def fitting(groups: Sequence[int], weight: Sequence[int]) -> bool:
    """Return whether groups extend along whole axes of a weight of that shape, along one at least of a matrix."""
    along = len(groups) == len(weight) and all(size in (1, each) for size, each in zip(groups, weight, strict=True))
    return along and (len(weight) != 2 or 1 in groups)


def check_bases(parameters: Parameters) -> None:
    """Raise Refusal unless codes are -1 and +1, or 0 throughout a basis, and the weights are codes times coordinates.

    Bases that a group lacks stand behind those that it has.
    """
    for name in coded_names(parameters):
        bases = bases_of(parameters, name)
        present = bases.present.unsqueeze(1)
        if not torch.where(present, bases.codes.abs() == 1, bases.codes == 0).all():
            raise Refusal(f"the codes of '{name}' must be -1 and +1, or 0 in a whole basis of a group")
        if not (bases.present.int().diff(dim=1) <= 0).all() or bases.alphas[~bases.present].any():
            raise Refusal(f"the bases of '{name}' that a group lacks must stand last, with coordinates of 0")
        if not torch.allclose(parameters[name], weight_of(parameters, name), rtol=1e-4, atol=1e-5):
            raise Refusal(f"the weight '{name}' is not the sum of its bases times their coordinates")


def refuse_bases(parameters: Parameters, what: str) -> None:
    """Raise Refusal that says that ``what`` is for weights of floats, if some are binary bases."""
    if coded_names(parameters):
        raise Refusal(
            f"{what} is for controllers of floats, and this one has binary bases: take the one that it came from"
        )
