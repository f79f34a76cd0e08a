"""What the file of an image network says beside its tensors, as plain JSON that carries no code."""

from __future__ import annotations

import dataclasses
from dataclasses import asdict, dataclass, field
from typing import Any

from metarl.policies.files import json_fields as fields
from metarl.policies.files.json_fields import Reader, require
from metarl.policies.networks.network import ImageNetwork
from metarl.policies.networks.registry import NETWORKS, backbones, kind_of


@dataclass(frozen=True)
class ClassifierMetadata:
    """What an image network was trained for.

    Tasks had ``shots`` images of each class to learn from, in ``inner_steps`` steps on all of them, and ``queries``
    others; they came from the folder ``data``. ``training`` is a record for the reader, as ``ControllerMetadata`` has
    it. ValueError names a value that makes no sense.
    """

    method: str
    inner_steps: int
    shots: int
    queries: int
    data: str
    training: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("inner_steps", "shots", "queries"):
            require(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")


def to_json(metadata: ClassifierMetadata, network: ImageNetwork) -> str:
    """Both as ASCII JSON; ValueError if the training record holds what JSON cannot."""
    return fields.to_text(metadata, {"kind": kind_of(network), **asdict(network)})


def from_json(text: str) -> tuple[ClassifierMetadata, ImageNetwork]:
    """The inverse of ``to_json``; ValueError names what is missing, unknown, of a wrong type or senseless."""
    content = fields.from_text(text)
    values = fields.record("the metadata", content, {**_METADATA, "network": _network})
    network: ImageNetwork = values.pop("network")
    return ClassifierMetadata(**values), network


def _network(name: str, value: Any) -> ImageNetwork:
    kind = fields.one_of(*backbones())("network kind", fields.json_object(name, value).get("kind"))
    network_class = NETWORKS[kind]
    readers = {each.name: _FIELDS.get(each.name, fields.size) for each in dataclasses.fields(network_class)}
    values = fields.record(name, value, {"kind": fields.text, **readers})
    del values["kind"]
    network: ImageNetwork = network_class(**values)
    return network


# The fields of image networks that are no sizes.
_FIELDS: dict[str, Reader] = {
    "norm": fields.one_of("group", "batch"),
    "pooling": fields.one_of("max", "average"),
    "widths": fields.list_of(fields.size),
}
_METADATA: dict[str, Reader] = {
    "method": fields.text,
    "inner_steps": fields.integer,
    "shots": fields.integer,
    "queries": fields.integer,
    "data": fields.text,
    "training": fields.json_object,
}
