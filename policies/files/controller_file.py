"""A controller's file: its tensors, and its metadata and network as JSON.

The content is one JSON object: the fields of ``ControllerMetadata`` for a policy or of ``ClassifierMetadata`` for an
image network, and ``network``, an object with the ``kind`` of the network and the fields of its class. Numbers that are
not finite, which JSON lacks, are the strings "inf", "-inf" and "nan". Each tensor is a parameter, float32, by its name.

``compression`` is null, or an object with ``kind`` and ``version`` (a whole number from 1) and what that kind adds; the
kinds written are ``pruning``, which masks weights, ``nested``, ``int8`` and ``bases``; others are refused by name. A
compressed file is deflated (``tensor_file``), as version 3; those of before are of version 2. In it these tensors stand
in the place of a parameter NAME of n numbers, which are counted in row-major order:

* masked: ``NAME.mask`` uint8 [ceil(n / 8)], a bit for each number, the lowest bit of a byte first, 1 where the number
  is kept, else it is zero; ``NAME.kept`` float32, float16 or int8 [numbers kept], in order.
* nested subnets, a kind of its own, ``nested``: ``NAME.values``, ``NAME.indices`` and ``NAME.counts``, as stated in
  ``policies/compression/nested.py``, and ``NAME.subnets`` of what each subnet has of its own.
* binary bases, of the kind ``bases``: ``NAME.bases`` uint8 [*group], how many bases each group has, with the axes of
  the parameter and size 1 where a group extends along the whole axis; ``NAME.alphas`` float32, the coordinates, group
  by group; ``NAME.codes`` uint8, bits as above, 1 for +1 and 0 for -1, basis by basis of each group. A number is the
  sum over its group's bases of coordinate times sign.

Of the kind ``int8`` are networks of the kind ``int8-mlp``, whose parameters stand in the file as they are: of each
LAYER ``LAYER.weight`` int8, ``LAYER.bias`` int32, ``LAYER.weight_scale``, ``LAYER.input_scale`` and
``LAYER.gradient_scale`` float32, ``LAYER.sum_shift`` int32 (``metarl.policies.networks.integers``).
"""

from __future__ import annotations

import json
import reprlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from metarl.core.errors import Refusal
from metarl.core.validation import plain_json, read_record
from metarl.policies.compression.bases import coded_names
from metarl.policies.compression.basis_packing import packed_bases, unpacked_bases
from metarl.policies.compression.masks import masks_of
from metarl.policies.compression.packing import packed, unpacked
from metarl.policies.files.metadata import (
    BASES,
    INT8,
    NESTED,
    PRUNING,
    ClassifierMetadata,
    Compression,
    ControllerMetadata,
)
from metarl.policies.files.tensor_file import FileKind, read_tensors, write_tensors
from metarl.policies.networks.integers import IntegerMLP
from metarl.policies.networks.network import Network, Parameters
from metarl.policies.networks.registry import NETWORKS, kind_of

KIND = FileKind(noun="controller", format="metarl-controller", version=2, newest=3)
PATCH = FileKind(noun="patch", format="metarl-patch", version=2, oldest=2)  # 1 held float32 alone

Metadata = ControllerMetadata | ClassifierMetadata


def write_controller(
    path: str | Path, metadata: Metadata, network: Network, parameters: Parameters, overwrite: bool
) -> None:
    """Write a controller's file in one stroke; raise ValueError if it exists already or cannot be written.

    Args:
        path: the file to write.
        metadata: what the network was trained for.
        network: the network.
        parameters: its parameters by name, and those of the inner loop.
        overwrite: whether a file that exists may be overwritten.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise Refusal(f"{path} exists already and is not overwritten: choose another name")
    kind = compression_of(network, parameters)
    compression = None if kind is None else Compression(kind, 1)
    metadata = replace(metadata, compression=compression)
    tensors = packed_bases(parameters) if kind == BASES else packed(parameters)
    write_tensors(path, KIND, to_json(metadata, network), tensors, deflate=compression is not None)


def compression_of(network: Network, parameters: Parameters) -> str | None:
    """Return how the parameters are compressed, the kind that a file names; None if they are not."""
    if isinstance(network, IntegerMLP):
        return INT8
    return BASES if coded_names(parameters) else PRUNING if masks_of(parameters) else None


def read_controller(path: Path) -> tuple[Metadata, Any, Parameters]:
    """Return the metadata, the network and the parameters of a file; raise ValueError if it cannot be used."""
    content, tensors = read_tensors(path, KIND)
    metadata, network = from_json(content)
    if metadata.compression is not None and metadata.compression.kind == NESTED:
        raise Refusal("the file holds nested subnets: say which one, e.g. --subnet 1 for the densest")
    if isinstance(network, IntegerMLP) != (metadata.compression is not None and metadata.compression.kind == INT8):
        raise Refusal(f"the network of kind '{kind_of(network)}' does not fit the compression of the file")
    if metadata.compression is None:
        return metadata, network, tensors
    unpack = unpacked_bases if metadata.compression.kind == BASES else unpacked
    return metadata, network, unpack(tensors, network)


def to_json(metadata: Metadata, network: Network) -> str:
    """Return a controller's metadata and network as ASCII JSON; raise ValueError if JSON cannot hold them."""
    try:
        content = {**_described(metadata), "network": described_network(network)}
        text = json.dumps(plain_json(content), sort_keys=True)
    except (TypeError, ValueError, RecursionError) as error:
        raise Refusal(f"the training record of a controller must be plain JSON: {error}") from None
    from_json(text)  # what cannot be read must not be written
    return text


def _described(metadata: Metadata) -> dict[str, Any]:
    """Return the fields of the metadata; the baseline that all had before there was another one is left out."""
    fields = asdict(metadata)
    if fields.get("baseline") == "full":
        del fields["baseline"]
    return fields


def described_network(network: Network) -> dict[str, Any]:
    """Return the kind and the fields of a network; no context and ReLU are left out, as in older files."""
    fields = asdict(network)
    if fields.get("context_size") == 0:
        del fields["context_size"]
    if fields.get("activation") == "relu":
        del fields["activation"]
    return {"kind": kind_of(network), **fields}


def from_json(text: str) -> tuple[Metadata, Any]:
    """Return the metadata and the network, the inverse of ``to_json``.

    Raise ValueError if something is missing, unknown, of a wrong type or not allowed.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise Refusal("the metadata is not JSON") from None
    if not isinstance(content, dict) or not isinstance(content.get("network"), dict):
        raise Refusal("the metadata must be an object with an object 'network'")
    described = content.pop("network")
    kind = described.pop("kind", None)
    if not (isinstance(kind, str) and kind in NETWORKS):
        raise Refusal(f"network kind must be {' or '.join(map(repr, NETWORKS))}, got {reprlib.repr(kind)}")
    network_class = NETWORKS[kind]
    network = read_record(network_class, described, "network")
    if network_class.takes == "images":
        return read_record(ClassifierMetadata, content, "the metadata"), network
    return read_record(ControllerMetadata, content, "the metadata"), network
