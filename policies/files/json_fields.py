"""Plain JSON with exactly the fields that are expected, each of its type: what a stranger wrote is not taken on trust.

Python's own JSON would write an infinite bound as a bare ``Infinity``, which other languages cannot read; here numbers
that are not finite are the strings "inf", "-inf" and "nan".
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from metarl.core.errors import Refusal

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_NOT_FINITE = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}

# Reads one value by its name: returns it in the type of its dataclass field, or raises ValueError.
Reader = Callable[[str, Any], Any]


def to_text(metadata: DataclassInstance, network: Mapping[str, Any]) -> str:
    """A controller's metadata and the facts of its network as ASCII JSON; ValueError if JSON cannot hold them."""
    try:
        return json.dumps(_strict({**asdict(metadata), "network": network}), sort_keys=True)
    except (TypeError, RecursionError) as error:
        raise Refusal(f"the training record of a controller must be plain JSON: {error}") from None


def from_text(text: str) -> Any:
    """The inverse of ``to_text``, but for numbers that are not finite: those ``number`` reads."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Refusal("the metadata is not JSON") from None


def require(name: str, value: object, holds: bool, allowed: str) -> None:
    """ValueError if it does not hold."""
    if not holds:
        raise Refusal(f"{name} must be {allowed}, got {value!r}")


def text(name: str, value: Any) -> str:
    """A string."""
    require(name, value, isinstance(value, str), "a string")
    return str(value)


def one_of(*choices: str) -> Reader:
    """Reads one of these strings."""

    def read_choice(name: str, value: Any) -> str:
        require(name, value, isinstance(value, str) and value in choices, " or ".join(f"'{each}'" for each in choices))
        return str(value)

    return read_choice


def integer(name: str, value: Any) -> int:
    """A whole number."""
    require(name, value, isinstance(value, int) and not isinstance(value, bool), "a whole number")
    return int(value)


def size(name: str, value: Any) -> int:
    """A whole number of at least 1."""
    require(name, value, integer(name, value) >= 1, "at least 1")
    return int(value)


def number(name: str, value: Any) -> float:
    """Any number; one that is not finite is a string."""
    if isinstance(value, str) and value in _NOT_FINITE:
        return _NOT_FINITE[value]
    require(name, value, isinstance(value, int | float) and not isinstance(value, bool), "a number")
    try:
        return float(value)
    except OverflowError:
        raise Refusal(f"{name} is too large") from None


def positive(name: str, value: Any) -> float:
    """A finite number above 0."""
    require(name, value, 0 < number(name, value) < math.inf, "a finite number above 0")
    return float(value)


def list_of(read: Reader) -> Reader:
    """Reads a list, each item of which ``read`` reads."""

    def read_list(name: str, value: Any) -> tuple[Any, ...]:
        require(name, value, isinstance(value, list), "a list")
        return tuple(read(f"{name}[{index}]", item) for index, item in enumerate(value))

    return read_list


def json_object(name: str, value: Any) -> dict[str, Any]:
    """An object of anything."""
    require(name, value, isinstance(value, dict), "an object")
    return dict(value)


def record(name: str, value: Any, readers: Mapping[str, Reader]) -> dict[str, Any]:
    """The values of an object that has exactly the fields of ``readers``."""
    content = json_object(name, value)
    for key in readers.keys() - content.keys():
        raise Refusal(f"{name} lacks '{key}'")
    for key in content.keys() - readers.keys():
        raise Refusal(f"{name} has the unknown field '{key}'")
    return {key: read(key, content[key]) for key, read in readers.items()}


def _strict(value: Any) -> Any:
    """The same value with numbers that are not finite as strings."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(float(value))
    if isinstance(value, Mapping):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    return value
