"""Nested sparse subnets in one table (DRESS, ch. 3 of Qu's thesis): rows ordered by magnitude, subnets are prefixes.

A weight of n numbers, row-major, is cut into rows of N numbers. Of each row the table holds the numbers of the densest
subnet and their columns, the largest magnitude first. Subnet k, from 1 on, is the first ``counts[k - 1]`` columns of
the table, so that reading or running it compares no number and looks at no other one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from metarl.core.errors import Refusal
from metarl.policies.compression.masks import MASK, weight_names
from metarl.policies.networks.network import Network, Parameters
from metarl.policies.networks.sizes import check_size

RowKind = Literal["filter", "256", "all"]
INDICES, VALUES, COUNTS, OWN = ".indices", ".values", ".counts", ".subnets"
MOST_SUBNETS = 64


@dataclass(frozen=True)
class Table:
    """The numbers of one weight that the densest subnet keeps.

    ``indices`` and ``values`` are [row, number kept]; a number's place in the weight is row * row_size + index.
    ``counts`` says how many numbers of each row a subnet has, the densest first.
    """

    indices: Tensor  # int64
    values: Tensor  # float32
    row_size: int
    counts: tuple[int, ...]

    def subnet(self, number: int) -> Table:
        """Return a subnet's part, from 1 on: views of both tables, no copy."""
        count = self.counts[number - 1]
        return Table(self.indices[:, :count], self.values[:, :count], self.row_size, (count,))

    @property
    def index_bits(self) -> int:
        """The bits that a column takes in a file."""
        return index_bits(self.row_size)

    def places(self) -> Tensor:
        """Return where the numbers stand in the flat weight [row, number kept]."""
        return torch.arange(len(self.indices))[:, None] * self.row_size + self.indices

    def weight(self, shape: Sequence[int]) -> Tensor:
        """Return the dense weight of a shape, +0 where nothing is kept."""
        return torch.zeros(math.prod(shape)).put(self.places(), self.values).reshape(tuple(shape))

    def mask(self, shape: Sequence[int]) -> Tensor:
        """Return 1 where a number is kept and 0 elsewhere."""
        return torch.zeros(math.prod(shape)).put(self.places(), torch.ones_like(self.values)).reshape(tuple(shape))

    def product(self, inputs: Tensor, outputs: int) -> Tensor:
        """Return x W^T [sample, output] for inputs x [sample, input] and a weight W [output, input] of this table."""
        places = self.places().flatten()
        products = inputs[:, places % inputs.shape[1]] * self.values.flatten()
        return inputs.new_zeros(len(inputs), outputs).index_add(1, places // inputs.shape[1], products)


def index_bits(row_size: int) -> int:
    """Return how many bits tell the columns of a row apart: ceil(log2 N), at least 1."""
    return max(1, (row_size - 1).bit_length())


def row_size(shape: Sequence[int], rows: RowKind, name: str) -> int:
    """Return how many successive numbers of a weight are one row; raise Refusal if they do not divide it.

    Args:
        shape: The shape of the weight.
        rows: One filter or output (``filter``), 256 numbers of it or a whole shorter one, or the whole weight.
        name: The weight's name in the sentence.
    """
    filter_size = math.prod(shape[1:])
    if rows == "all":
        return math.prod(shape)
    if rows == "filter" or filter_size <= 256:
        return filter_size
    if filter_size % 256:
        raise Refusal(
            f"rows of 256 do not divide the {filter_size} weights of a filter of {name.removesuffix('.weight')}: "
            "take --row filter or all"
        )
    return 256


def ordered(weight: Tensor, size: int) -> Tensor:
    """Return the columns of each row [row, size] by falling magnitude; equal magnitudes stay in their order."""
    return weight.detach().reshape(-1, size).abs().argsort(dim=1, descending=True, stable=True)


def sampled_masks(weight: Tensor, size: int, counts: Sequence[int]) -> list[Tensor]:
    """Return the masks of all subnets: the largest ``counts[k]`` magnitudes of each row. One sort makes them nested."""
    order = ordered(weight, size)
    masks = []
    for count in counts:
        mask = torch.zeros(order.shape, dtype=weight.dtype).scatter(1, order[:, :count], 1)
        masks.append(mask.reshape(weight.shape))
    return masks


def encoded(weight: Tensor, size: int, counts: Sequence[int]) -> Table:
    """Return the table of a dense weight."""
    indices = ordered(weight, size)[:, : counts[0]]
    values = weight.detach().reshape(-1, size).gather(1, indices)
    return Table(indices.contiguous(), values.contiguous(), size, tuple(counts))


def shared_names(network: Network, parameters: Parameters) -> tuple[str, ...]:
    """Return the parameters that all subnets share: the network's contexts, and those of the inner loop."""
    own = {*own_names(network), *weight_names(network)}
    return tuple(name for name in parameters if name not in own)


def own_names(network: Network) -> tuple[str, ...]:
    """Return the parameters that each subnet has of its own: norms, biases and log standard deviations."""
    names = []
    for layer in network.layers:
        adapted = [*layer.operands, *layer.extra_names]
        names += [name for name in adapted if layer.is_norm or name != f"{layer.name}.weight"]
    return tuple(names)


def masked_subnet(tables: Mapping[str, Table], own: Parameters, shared: Parameters, network: Network) -> Parameters:
    """Return the dense parameters of a subnet with its masks.

    Args:
        tables: The subnet's part of each table, by the weight's name.
        own: The parameters that it has of its own.
        shared: Those that all subnets share.
        network: The network.
    """
    parameters = {**shared, **own}
    for name, table in tables.items():
        shape = network.parameter_shapes[name]
        parameters |= {name: table.weight(shape), name + MASK: table.mask(shape)}
    return parameters


def packed_tables(tables: Mapping[str, Table]) -> Parameters:
    """Return the tensors of a file: of each weight NAME its table.

    ``NAME.values`` float32 [row, number kept]; ``NAME.indices`` uint8, ``index_bits`` bits for each, row-major, the
    lowest first; ``NAME.counts`` int32 [1 + subnet], the size of a row and the numbers of it in each subnet.
    """
    tensors: Parameters = {}
    for name, table in tables.items():
        bits = (table.indices.numpy().reshape(-1, 1) >> np.arange(table.index_bits)) & 1
        packed = np.packbits(bits.astype(np.uint8).flatten(), bitorder="little")
        tensors |= {
            name + VALUES: table.values,
            name + INDICES: torch.from_numpy(packed),
            name + COUNTS: torch.tensor([table.row_size, *table.counts], dtype=torch.int32),
        }
    return tensors


def unpacked_tables(tensors: Parameters, network: Network) -> dict[str, Table]:
    """Return the tables of a file, the inverse of ``packed_tables``; raise Refusal if one cannot be right."""
    check_size(network)
    tables = {name: _table(name, tensors, network.parameter_shapes[name]) for name in weight_names(network)}
    if len({len(table.counts) for table in tables.values()}) > 1:
        raise Refusal("the tables of the layers have different numbers of subnets")
    return tables


def _table(name: str, tensors: Parameters, shape: tuple[int, ...]) -> Table:
    for part in (VALUES, INDICES, COUNTS):
        if name + part not in tensors:
            raise Refusal(f"the table '{name}{part}' is missing")
    values, packed, numbers = (tensors[name + part] for part in (VALUES, INDICES, COUNTS))
    size, *counts = _counts(name, numbers, shape)
    rows, stored = math.prod(shape) // size, counts[0]
    if values.dtype != torch.float32 or tuple(values.shape) != (rows, stored):
        raise Refusal(f"'{name}{VALUES}' must be float32 [{rows}, {stored}], as many numbers as its counts say")
    if not torch.isfinite(values).all():
        raise Refusal(f"'{name}{VALUES}' holds a NaN or an infinite number")
    table = Table(_indices(name, packed, rows, stored, size), values, size, tuple(counts))
    _check_order(name, table)
    return table


def _counts(name: str, numbers: Tensor, shape: tuple[int, ...]) -> list[int]:
    """Return the row's size and the counts of the subnets, checked."""
    if numbers.dtype != torch.int32 or numbers.dim() != 1 or not 3 <= len(numbers) <= MOST_SUBNETS + 1:
        raise Refusal(f"'{name}{COUNTS}' must be int32 of a row's size and 2 to {MOST_SUBNETS} counts")
    size, *counts = numbers.tolist()
    if size < 1 or math.prod(shape) % size:
        raise Refusal(f"rows of {size} numbers do not divide the {math.prod(shape)} numbers of '{name}'")
    if counts != sorted(counts, reverse=True) or not 1 <= counts[-1] <= counts[0] <= size:
        raise Refusal(f"the counts of '{name}' must fall from one subnet to the next, between 1 and {size}")
    return [size, *counts]


def _indices(name: str, packed: Tensor, rows: int, stored: int, size: int) -> Tensor:
    """Return the columns [row, number kept] that the bits of a file describe."""
    width = index_bits(size)
    total = rows * stored * width
    if packed.dtype != torch.uint8 or tuple(packed.shape) != (-(-total // 8),):
        raise Refusal(f"'{name}{INDICES}' must be uint8 [{-(-total // 8)}], {width} bits for each number")
    bits = np.unpackbits(packed.numpy(), bitorder="little")
    if bits[total:].any():
        raise Refusal(f"'{name}{INDICES}' has bits set behind its last number")
    indices = bits[:total].reshape(rows, stored, width).astype(np.int64) @ (1 << np.arange(width))
    if (indices >= size).any():
        raise Refusal(f"'{name}{INDICES}' has a column beyond the {size} of a row")
    return torch.from_numpy(indices)


def _check_order(name: str, table: Table) -> None:
    """Raise Refusal unless each row falls in magnitude, equal ones by rising columns, and has no column twice."""
    magnitudes, steps = table.values.abs(), table.indices.diff(dim=1)
    falls = magnitudes.diff(dim=1)
    if bool(((falls > 0) | ((falls == 0) & (steps <= 0))).any()):
        raise Refusal(f"the numbers of '{name}' are not ordered by magnitude")
    if bool((table.indices.sort(dim=1).values.diff(dim=1) == 0).any()):
        raise Refusal(f"the table of '{name}' names a column of a row twice")
