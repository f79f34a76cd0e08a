"""The file of nested subnets: one table for each weight, and the parameters that each subnet has of its own.

It is a controller's file of the compression ``nested``. Beside the tables (``policies.compression.nested``) stand, of
each parameter that differs between subnets, ``NAME.subnets`` [subnet, ...], and the shared parameters by their names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from metarl.core.errors import Refusal
from metarl.policies.compression.masks import weight_names
from metarl.policies.compression.nested import (
    COUNTS,
    INDICES,
    OWN,
    VALUES,
    Table,
    own_names,
    packed_tables,
    unpacked_tables,
)
from metarl.policies.files.controller_file import KIND, Metadata, from_json, to_json
from metarl.policies.files.metadata import NESTED, Compression
from metarl.policies.files.tensor_file import read_tensors, write_tensors
from metarl.policies.networks.network import Network, Parameters

Parts = tuple[Mapping[str, Table], Parameters, Parameters]  # tables, own parameters [subnet, ...], shared ones


def write_nested(path: str | Path, metadata: Metadata, network: Network, parts: Parts, overwrite: bool) -> None:
    """Write nested subnets in one stroke; raise ValueError if the file exists already or cannot be written.

    Args:
        path: The file to write.
        metadata: What the network was trained for.
        network: The network.
        parts: The tables, the parameters that each subnet has of its own, and the shared ones.
        overwrite: Whether a file that exists may be overwritten.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise Refusal(f"{path} exists already and is not overwritten: choose another name")
    tables, own, shared = parts
    tensors = packed_tables(tables) | {name + OWN: tensor for name, tensor in own.items()} | shared
    text = to_json(replace(metadata, compression=Compression(NESTED, 1)), network)
    write_tensors(path, KIND, text, tensors, deflate=True)


def is_nested(path: Path) -> bool:
    """Return whether a controller's file holds nested subnets; raise ValueError if it cannot be read."""
    metadata, _ = from_json(read_tensors(path, KIND)[0])
    return metadata.compression is not None and metadata.compression.kind == NESTED


def read_nested(path: Path) -> tuple[Metadata, Any, Parts]:
    """Return the metadata, the network and the parts of a file; raise ValueError if it cannot be used."""
    content, tensors = read_tensors(path, KIND)
    metadata, network = from_json(content)
    if metadata.compression is None or metadata.compression.kind != NESTED:
        raise Refusal("the file holds one controller and no subnets")
    tables = unpacked_tables(tensors, network)
    count = len(next(iter(tables.values())).counts)
    own = {name: _own(name, tensors, network, count) for name in own_names(network)}
    used = {name + part for name in weight_names(network) for part in (VALUES, INDICES, COUNTS)}
    used |= {name + OWN for name in own}
    return metadata, network, (tables, own, {name: each for name, each in tensors.items() if name not in used})


def _own(name: str, tensors: Parameters, network: Network, count: int) -> torch.Tensor:
    shape = (count, *network.parameter_shapes[name])
    tensor = tensors.get(name + OWN)
    if tensor is None or tensor.dtype != torch.float32 or tuple(tensor.shape) != shape:
        raise Refusal(f"'{name}{OWN}' must be float32 {list(shape)}, the parameters of each of {count} subnets")
    return tensor
