"""What a controller file says beside its tensors, as plain JSON that carries no code.

Python's own JSON would write an infinite bound as a bare ``Infinity``, which other languages cannot read; here numbers
that are not finite are the strings "inf", "-inf" and "nan".
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from metarl.policies.mlp import GaussianMLP

_NOT_FINITE = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


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
    infinite). ``adapted_to`` holds the named values of the task that the controller has been adapted to, None for a
    meta-trained one. ``training`` is a record for the reader (seed, iterations, returns) of anything that JSON can
    hold; numbers in it that are not finite come back from a file as the strings "inf", "-inf" and "nan".
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
            _require(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        for name in ("discount", "gae_lambda"):
            _require(name, getattr(self, name), 0 <= getattr(self, name) <= 1, "between 0 and 1")
        _require("action_scale", self.action_scale, 0 < self.action_scale < math.inf, "a finite number above 0")
        for space in ("observation", "action"):
            lows, highs = getattr(self, f"{space}_low"), getattr(self, f"{space}_high")
            ordered = len(lows) == len(highs) and all(low <= high for low, high in zip(lows, highs, strict=True))
            _require(f"{space}_low", lows, ordered, f"as long as {space}_high and nowhere above it")


def to_json(metadata: ControllerMetadata, network: GaussianMLP) -> str:
    """Both as ASCII JSON; ValueError if the training record holds what JSON cannot."""
    try:
        content = _strict({**asdict(metadata), "network": {"kind": "gaussian-mlp", **asdict(network)}})
        return json.dumps(content, sort_keys=True)
    except (TypeError, RecursionError) as error:
        raise ValueError(f"the training record of a controller must be plain JSON: {error}") from None


def from_json(text: str) -> tuple[ControllerMetadata, GaussianMLP]:
    """The inverse of ``to_json``; ValueError names what is missing, unknown, of a wrong type or senseless."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("the metadata is not JSON") from None
    values = _record("the metadata", content, {**_METADATA, "network": _network})
    network: GaussianMLP = values.pop("network")
    return ControllerMetadata(**values), network


def _strict(value: Any) -> Any:
    """The same value with numbers that are not finite as strings."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(float(value))
    if isinstance(value, Mapping):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    return value


def _require(name: str, value: object, holds: bool, allowed: str) -> None:
    if not holds:
        raise ValueError(f"{name} must be {allowed}, got {value!r}")


# Readers of one value each: they return it in the type of its dataclass field, or raise ValueError.
_Reader = Callable[[str, Any], Any]


def _text(name: str, value: Any) -> str:
    _require(name, value, isinstance(value, str), "a string")
    return str(value)


def _integer(name: str, value: Any) -> int:
    _require(name, value, isinstance(value, int) and not isinstance(value, bool), "a whole number")
    return int(value)


def _size(name: str, value: Any) -> int:
    _require(name, value, _integer(name, value) >= 1, "at least 1")
    return int(value)


def _number(name: str, value: Any) -> float:
    if isinstance(value, str) and value in _NOT_FINITE:
        return _NOT_FINITE[value]
    _require(name, value, isinstance(value, int | float) and not isinstance(value, bool), "a number")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{name} is too large") from None


def _positive(name: str, value: Any) -> float:
    _require(name, value, 0 < _number(name, value) < math.inf, "a finite number above 0")
    return float(value)


def _list_of(read: _Reader) -> _Reader:
    def read_list(name: str, value: Any) -> tuple[Any, ...]:
        _require(name, value, isinstance(value, list), "a list")
        return tuple(read(f"{name}[{index}]", item) for index, item in enumerate(value))

    return read_list


def _object(name: str, value: Any) -> dict[str, Any]:
    _require(name, value, isinstance(value, dict), "an object")
    return dict(value)


def _task(name: str, value: Any) -> dict[str, float] | None:
    return (
        None if value is None else {key: _number(f"{name}.{key}", item) for key, item in _object(name, value).items()}
    )


def _record(name: str, value: Any, readers: Mapping[str, _Reader]) -> dict[str, Any]:
    """The values of an object that has exactly the fields of ``readers``."""
    content = _object(name, value)
    for key in readers.keys() - content.keys():
        raise ValueError(f"{name} lacks '{key}'")
    for key in content.keys() - readers.keys():
        raise ValueError(f"{name} has the unknown field '{key}'")
    return {key: read(key, content[key]) for key, read in readers.items()}


def _field_record(name: str, value: Any) -> FieldRecord:
    return FieldRecord(**_record(name, value, _FIELD))


def _network(name: str, value: Any) -> GaussianMLP:
    values = _record(name, value, _NETWORK)
    kind = values.pop("kind")
    _require("network kind", kind, kind == "gaussian-mlp", "'gaussian-mlp'")
    return GaussianMLP(**values)


_FIELD: dict[str, _Reader] = {
    "name": _text,
    "low": _number,
    "high": _number,
    "unit": _text,
    "choices": _list_of(_number),
}
_NETWORK: dict[str, _Reader] = {
    "kind": _text,
    "observation_size": _size,
    "hidden_sizes": _list_of(_size),
    "action_size": _size,
    "initial_std": _positive,
}
_METADATA: dict[str, _Reader] = {
    "method": _text,
    "family": _text,
    "task_fields": _list_of(_field_record),
    "horizon": _integer,
    "observation_low": _list_of(_number),
    "observation_high": _list_of(_number),
    "action_low": _list_of(_number),
    "action_high": _list_of(_number),
    "action_scale": _number,
    "inner_steps": _integer,
    "episodes_per_step": _integer,
    "discount": _number,
    "gae_lambda": _number,
    "adapted_to": _task,
    "training": _object,
}
