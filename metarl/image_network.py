"""A meta-trained image network in one file: its parameters, its method, and a record of its training."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from metarl.image_settings import ImageNetwork, ImageSettings, build_network
from metarl.policies.methods import Method, get_method, initial_meta_parameters
from metarl.policies.network import Parameters
from metarl.policies.tensor_file import FileKind, read_tensors, write_tensors

KIND = FileKind(noun="image network", format="metarl-image-network", version=1)


@dataclass(frozen=True)
class NetworkRecord:
    """What the file says beside the tensors."""

    backbone: str
    side: int
    ways: int
    norm: str
    pooling: str
    method: str
    inner_steps: int
    training: dict[str, Any]  # for the reader alone


@dataclass(frozen=True)
class TrainedNetwork:
    """Parameters with step sizes and attention, and the record that says how to use them."""

    parameters: Parameters
    record: NetworkRecord

    @property
    def network(self) -> ImageNetwork:
        return build_network(_architecture(self.record))

    @property
    def method(self) -> Method:
        return get_method(self.record.method)


def save_network(trained: TrainedNetwork, path: Path) -> None:
    """Writes the file in one stroke, over one that is there; ValueError if it cannot be written."""
    write_tensors(path, KIND, json.dumps(asdict(trained.record)), trained.parameters)


def load_network(path: Path) -> TrainedNetwork:
    """ValueError names the file and says what is wrong with it. Reading it runs nothing that is in it."""
    try:
        content, parameters = read_tensors(path, KIND)
        record = _parse(json.loads(content))
        _check_shapes(record, parameters)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from None
    return TrainedNetwork(parameters, record)


def _parse(content: Any) -> NetworkRecord:
    if not isinstance(content, dict):
        raise ValueError(f"the {KIND.noun}'s content must be a JSON object")
    values: dict[str, Any] = {}
    for field in fields(NetworkRecord):
        kind = {"int": int, "str": str}.get(str(field.type), dict)
        value = content.get(field.name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ValueError(f"the {KIND.noun}'s '{field.name}' must be of type {kind.__name__}, got {value!r}")
        values[field.name] = value
    return NetworkRecord(**values)


def _architecture(record: NetworkRecord) -> ImageSettings:
    """The settings that build the network; ValueError if it is none that there is."""
    names = ("backbone", "side", "ways", "norm", "pooling", "method", "inner_steps")
    return ImageSettings(data=Path(), **{name: getattr(record, name) for name in names})


def _check_shapes(record: NetworkRecord, parameters: Parameters) -> None:
    """ValueError names the first tensor that is missing, foreign or of another shape."""
    network, random = build_network(_architecture(record)), torch.Generator()
    meta = initial_meta_parameters(get_method(record.method), network.channels, record.inner_steps, 0.0, random)
    expected = {name: tuple(tensor.shape) for name, tensor in meta.items()} | network.parameter_shapes
    found = {name: tuple(tensor.shape) for name, tensor in parameters.items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            wanted = f"have the shape {expected[name]}" if name in expected else "not be there"
            raise ValueError(
                f"the tensor '{name}' of {record.method} on {record.backbone} must {wanted}, "
                f"got {found.get(name, 'none')}"
            )
