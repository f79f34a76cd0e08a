"""What a controller file says beside its tensors, as plain JSON that carries no code."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from metarl.policies.files import json_fields as fields
from metarl.policies.files.controller_format import POLICY
from metarl.policies.files.json_fields import Reader, require
from metarl.policies.networks.mlp import GaussianMLP


@dataclass(frozen=True)
class FieldRecord:
    """One number that tells tasks apart, and the interval it is drawn from; ``choices`` restricts it to some values."""

    name: str
    low: float
    high: float
    unit: str = ""
    choices: tuple[float, ...] = ()


@dataclass(frozen=True)
class ControllerMetadata:
    """What a controller was trained for, and what its inner step needs to know on a device.

    An environment receives the policy's action times ``action_scale``, clipped to the action bounds (which may be
    infinite). ``adapted_to`` holds the named values of the task that the controller has been adapted to, which are none
    if nobody has named them; it is None for a meta-trained controller. ``training`` is a record for the reader (seed,
    iterations, returns) of anything that JSON can hold; numbers in it that are not finite come back from a file as the
    strings "inf", "-inf" and "nan".
    ValueError names a value that makes no sense.
    """

    method: str
    family: str
    task_fields: tuple[FieldRecord, ...]
    horizon: int
    observation_low: tuple[float, ...]
    observation_high: tuple[float, ...]
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    action_scale: float
    inner_steps: int
    episodes_per_step: int
    discount: float
    gae_lambda: float
    adapted_to: dict[str, float] | None = None
    training: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("horizon", "inner_steps", "episodes_per_step"):
            require(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        for name in ("discount", "gae_lambda"):
            require(name, getattr(self, name), 0 <= getattr(self, name) <= 1, "between 0 and 1")
        require("action_scale", self.action_scale, 0 < self.action_scale < math.inf, "a finite number above 0")
        for space in ("observation", "action"):
            lows, highs = getattr(self, f"{space}_low"), getattr(self, f"{space}_high")
            ordered = len(lows) == len(highs) and all(low <= high for low, high in zip(lows, highs, strict=True))
            require(f"{space}_low", lows, ordered, f"as long as {space}_high and nowhere above it")


def to_json(metadata: ControllerMetadata, network: GaussianMLP) -> str:
    """Both as ASCII JSON; ValueError if the training record holds what JSON cannot."""
    return fields.to_text(metadata, {"kind": POLICY, **asdict(network)})


def from_json(text: str) -> tuple[ControllerMetadata, GaussianMLP]:
    """The inverse of ``to_json``; ValueError names what is missing, unknown, of a wrong type or senseless."""
    content = fields.from_text(text)
    values = fields.record("the metadata", content, {**_METADATA, "network": _network})
    network: GaussianMLP = values.pop("network")
    return ControllerMetadata(**values), network


def _task(name: str, value: Any) -> dict[str, float] | None:
    if value is None:
        return None
    return {key: fields.number(f"{name}.{key}", item) for key, item in fields.json_object(name, value).items()}


def _field_record(name: str, value: Any) -> FieldRecord:
    return FieldRecord(**fields.record(name, value, _FIELD))


def _network(name: str, value: Any) -> GaussianMLP:
    values = fields.record(name, value, _NETWORK)
    kind = values.pop("kind")
    require("network kind", kind, kind == POLICY, f"'{POLICY}'")
    return GaussianMLP(**values)


_FIELD: dict[str, Reader] = {
    "name": fields.text,
    "low": fields.number,
    "high": fields.number,
    "unit": fields.text,
    "choices": fields.list_of(fields.number),
}
_NETWORK: dict[str, Reader] = {
    "kind": fields.text,
    "observation_size": fields.size,
    "hidden_sizes": fields.list_of(fields.size),
    "action_size": fields.size,
    "initial_std": fields.positive,
}
_METADATA: dict[str, Reader] = {
    "method": fields.text,
    "family": fields.text,
    "task_fields": fields.list_of(_field_record),
    "horizon": fields.integer,
    "observation_low": fields.list_of(fields.number),
    "observation_high": fields.list_of(fields.number),
    "action_low": fields.list_of(fields.number),
    "action_high": fields.list_of(fields.number),
    "action_scale": fields.number,
    "inner_steps": fields.integer,
    "episodes_per_step": fields.integer,
    "discount": fields.number,
    "gae_lambda": fields.number,
    "adapted_to": _task,
    "training": fields.json_object,
}
