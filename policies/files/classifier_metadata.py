"""What the file of an image network says beside its tensors, as plain JSON that carries no code."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from metarl.policies.files import json_fields as fields
from metarl.policies.files.controller_format import CONV4, IMAGE_NETWORKS, RESNET12
from metarl.policies.files.json_fields import Reader, require
from metarl.policies.networks.conv4 import Conv4
from metarl.policies.networks.image_networks import ImageNetwork
from metarl.policies.networks.resnet12 import ResNet12


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


def backbone(network: ImageNetwork) -> str:
    """``conv4`` or ``resnet12``."""
    return RESNET12 if isinstance(network, ResNet12) else CONV4


def to_json(metadata: ClassifierMetadata, network: ImageNetwork) -> str:
    """Both as ASCII JSON; ValueError if the training record holds what JSON cannot."""
    return fields.to_text(metadata, {"kind": backbone(network), **asdict(network)})


def from_json(text: str) -> tuple[ClassifierMetadata, ImageNetwork]:
    """The inverse of ``to_json``; ValueError names what is missing, unknown, of a wrong type or senseless."""
    content = fields.from_text(text)
    values = fields.record("the metadata", content, {**_METADATA, "network": _network})
    network: ImageNetwork = values.pop("network")
    return ClassifierMetadata(**values), network


def _network(name: str, value: Any) -> ImageNetwork:
    kind = fields.one_of(*IMAGE_NETWORKS)("network kind", fields.json_object(name, value).get("kind"))
    if kind == CONV4:
        return Conv4(**_without_kind(fields.record(name, value, _CONV4)))
    return ResNet12(**_without_kind(fields.record(name, value, _RESNET12)))


def _without_kind(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != "kind"}


_SIZES: dict[str, Reader] = {
    "kind": fields.text,
    "side": fields.size,
    "ways": fields.size,
    "norm": fields.one_of("group", "batch"),
}
_CONV4: dict[str, Reader] = {**_SIZES, "width": fields.size, "pooling": fields.one_of("max", "average")}
_RESNET12: dict[str, Reader] = {**_SIZES, "widths": fields.list_of(fields.size)}
_METADATA: dict[str, Reader] = {
    "method": fields.text,
    "inner_steps": fields.integer,
    "shots": fields.integer,
    "queries": fields.integer,
    "data": fields.text,
    "training": fields.json_object,
}
