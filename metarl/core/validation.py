"""Check dataclasses against their annotations, and say in one sentence what is wrong.

A dataclass states what each field allows once, by its annotation, e.g. ``Annotated[int, Field(ge=1)]``. The same
annotation holds for objects made in Python (``validate_fields`` in ``__post_init__``) and for JSON (``read_record``).
"""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import numpy as np
from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from metarl.core.errors import Refusal

Record = TypeVar("Record")

STRICT = ConfigDict(strict=True, extra="forbid")
_NOT_FINITE = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


def _text(value: Any) -> Any:
    """Return a string with escape sequences for the characters that UTF-8 lacks, as in a path that is no text."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _number(value: Any) -> Any:
    """Return the number that JSON, which has no infinite numbers and no NaN, spells as a string."""
    return _NOT_FINITE.get(value, value) if isinstance(value, str) else _plain(value)


Size = Annotated[int, Field(ge=1)]
Number = Annotated[float, BeforeValidator(_number)]
Finite = Annotated[Number, Field(allow_inf_nan=False)]
Text = Annotated[str, BeforeValidator(_text)]
Name = Annotated[Text, Field(max_length=200)]


def validate_fields(instance: Any, label: str = "{}") -> None:
    """Bring every field of a dataclass object to the type of its annotation; call it in ``__post_init__``.

    NumPy's numbers become Python's, lists and arrays become tuples, and strings become paths where the field is one.
    Raise ValueError with the first field that holds what its annotation does not allow; ``label`` has its name for {}.
    """
    for name, adapter in _field_adapters(instance.__class__).items():
        try:
            value = adapter.validate_python(_plain(getattr(instance, name)))
        except ValidationError as error:
            raise Refusal(_sentence(error, (name,), name, label)) from None
        object.__setattr__(instance, name, value)


def read_record(cls: Callable[..., Record], content: Any, what: str) -> Record:
    """Return a dataclass object from parsed JSON, in which numbers that are not finite are strings.

    Raise ValueError if it is no object, lacks a field, has an unknown one, or one with a value that the annotation does
    not allow. ``what`` names the whole in the sentence.
    """
    try:
        record: Record = _adapter(cls).validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        raise Refusal(_sentence(error, (), what)) from None
    return record


def plain_json(value: Any) -> Any:
    """Return a value as JSON holds it: NumPy's numbers as Python's, numbers that are not finite as strings."""
    if isinstance(value, Mapping):
        return {plain_json(key): plain_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(item) for item in value]
    value = _text(value.item() if isinstance(value, np.generic) else value)
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _plain(value: Any) -> Any:
    """Return what NumPy holds as Python's numbers, and lists as tuples."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value


@cache
def _field_adapters(cls: Any) -> dict[str, TypeAdapter[Any]]:
    hints = get_type_hints(cls, include_extras=True)
    strict = ConfigDict(strict=True)
    return {field.name: TypeAdapter(_readable(hints[field.name]), config=strict) for field in fields(cls)}


def _readable(hint: Any) -> Any:
    """Return a field's type such that a string is read as a path."""
    return Annotated[Path, Field(strict=False)] if hint is Path else hint


@cache
def _adapter(cls: Any) -> TypeAdapter[Any]:
    return TypeAdapter(cls)


def _sentence(error: ValidationError, path: tuple[int | str, ...], what: str, label: str = "{}") -> str:
    """Return what the first error of pydantic says as one sentence that names the field."""
    first = error.errors(include_url=False)[0]
    kind, context, path = first["type"], first.get("ctx", {}), (*path, *first["loc"])
    if kind in ("missing", "unexpected_keyword_argument"):
        *outer, name = path
        outside = _dotted(tuple(outer)) or what
        if isinstance(name, int):
            return f"{outside} has {_entries(name)}, too few"
        return f"{outside} lacks '{name}'" if kind == "missing" else f"{outside} has the unknown field '{name:.60}'"
    where = label.format(_dotted(path) or what)
    if path[-1:] == ("[key]",):
        where = f"every key of {_dotted(path[:-2])}"
    if kind == "value_error":
        return f"{where}: {context['error']}" if path else str(context["error"])
    length = context.get("max_length", context.get("min_length", 0))
    size = f"{length} characters" if isinstance(first["input"], str) else _entries(length)
    limits = {name: f"{limit:g}" if isinstance(limit, float) else limit for name, limit in context.items()}
    allowed = _ALLOWED.get(kind, str(first["msg"])).format(**limits, size=size)
    return f"{where} must be {allowed}, got {reprlib.repr(first['input'])}"


_ALLOWED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "a string",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "an object",
    "dataclass_type": "an object",
    "dataclass_exact_type": "a {class_name}",
    "literal_error": "{expected}",
    "path_type": "a path",
    "greater_than": "above {gt}",
    "less_than": "below {lt}",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "finite_number": "a finite number",
    "json_invalid": "JSON that is not nested deeply",
    "multiple_of": "a multiple of {multiple_of}",
    "too_long": "at most {size} long",
    "too_short": "at least {size} long",
    "string_too_long": "at most {size} long",
}


def _entries(count: int) -> str:
    return f"{count} {'entry' if count == 1 else 'entries'}"


def _dotted(path: tuple[int | str, ...]) -> str:
    """Return ``task_fields[0].low`` for ("task_fields", 0, "low")."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part:.60}" for part in path)
    return text.removeprefix(".")
