"""Settings as dataclasses whose types and limits are stated once, as annotations, and checked where values come in."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import MISSING
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import numpy as np
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from metarl.core.errors import Refusal

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

AnySettings = TypeVar("AnySettings", bound="DataclassInstance")

AtLeastOne = Annotated[int, Field(ge=1, lt=2**31)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)]

WORDS = {"Input should": "must", "greater than or equal to": "at least", "less than or equal to": "at most"}


def check_settings(settings: DataclassInstance) -> None:
    """Bring every field of a frozen dataclass to its plain Python type, in place; call it in ``__post_init__``.

    Numbers of NumPy become numbers of Python, lists tuples, and strings paths where the field is one. Raise Refusal
    that names the field whose value has another type or is out of its limits.
    """
    for name, adapter in _adapters(type(settings)).items():
        value = getattr(settings, name)
        try:
            object.__setattr__(settings, name, adapter.validate_python(_plain(value)))
        except ValidationError as error:
            raise Refusal(_sentence(name, error)) from None


def read_settings(kind: type[AnySettings], content: Mapping[str, Any]) -> AnySettings:
    """Return settings from the content of a JSON file; a name that it lacks takes its default.

    Raise Refusal for an unknown name, for a missing one without a default, and for values that are refused.
    """
    fields = kind.__dataclass_fields__
    for name in content:
        if name not in fields:
            raise Refusal(f"unknown setting '{name}'")
    for name, field in fields.items():
        if name not in content and field.default is MISSING and field.default_factory is MISSING:
            raise Refusal(f"setting '{name}' is missing")
    return kind(**content)


@cache
def _adapters(kind: type[DataclassInstance]) -> dict[str, TypeAdapter[Any]]:
    hints = get_type_hints(kind, include_extras=True)
    strict = ConfigDict(strict=True)
    return {name: TypeAdapter(_readable(hints[name]), config=strict) for name in kind.__dataclass_fields__}


def _readable(hint: Any) -> Any:
    """Return a field's type such that a string is read as a path."""
    return Annotated[Path, Field(strict=False)] if hint is Path else hint


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value


def _sentence(name: str, error: ValidationError) -> str:
    first = error.errors()[0]
    place = "".join(f"[{part}]" for part in first["loc"] if isinstance(part, int))
    allowed = "must be a path" if first["type"] == "path_type" else first["msg"]
    for theirs, ours in WORDS.items():
        allowed = allowed.replace(theirs, ours)
    return f"setting '{name}{place}' {allowed}, got {reprlib.repr(first['input'])}"
