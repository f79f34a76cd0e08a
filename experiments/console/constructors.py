"""How tyro reads numbers, lists of numbers and optional values, so that help and errors are free of Python's jargon."""

from __future__ import annotations

import dataclasses
import types
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import tyro
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    UnsupportedTypeAnnotationError,
)

CONFIG = (tyro.conf.DisallowNone,)
T = TypeVar("T")
# An option that may be left out; its help says what then happens, in place of tyro's "(default: None)".
Maybe = Annotated[T | None, tyro.conf.arg(help_behavior_hint="")]
Family = Annotated[str | None, tyro.conf.arg(metavar="FAMILY", help_behavior_hint="")]
ControllerFile = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CONTROLLER")]
FieldWords = Annotated[
    tuple[str, ...], tyro.conf.arg(name="field", metavar="NAME=LOW:HIGH [...]", help_behavior_hint="")
]
Methods = Annotated[tuple[str, ...], tyro.conf.arg(metavar="METHOD [METHOD ...]")]
# Of each type the metavar, what a wrong word is not, and several of them.
NUMBERS: dict[type, tuple[str, str, str]] = {
    int: ("INT", "a whole number", "whole numbers with spaces between them, e.g. 100 100"),
    float: ("FLOAT", "a number", "numbers with spaces between them, e.g. 0.1 0.5"),
}

Spec = PrimitiveConstructorSpec[Any]


def registry() -> ConstructorRegistry:
    """Return tyro's readers with those of this module before them."""
    readers = ConstructorRegistry()
    for rule in (number, numbers, optional):
        readers.primitive_rule(rule)
    return readers


def number(info: PrimitiveTypeInfo) -> Spec | None:
    """Read an int or a float."""
    if info.type not in NUMBERS:
        return None
    metavar, what, _ = NUMBERS[info.type]

    def read(words: list[str]) -> Any:
        try:
            return info.type(words[0])
        except ValueError:
            raise ValueError(f"must be {what}, got '{words[0]}'") from None

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, int | float),
        str_from_instance=lambda value: [_shown(value)],
    )


def numbers(info: PrimitiveTypeInfo) -> Spec | None:
    """Read a ``tuple[int, ...]`` or ``tuple[float, ...]``."""
    inner, *others = get_args(info.type) or (None,)
    inner = get_args(inner)[0] if get_origin(inner) is Annotated else inner  # without the limits of a setting
    if info.type_origin is not tuple or inner not in NUMBERS or others != [Ellipsis]:
        return None
    metavar, _, several = NUMBERS[inner]

    def read(words: list[str]) -> Any:
        try:
            return tuple(inner(word) for word in words)
        except ValueError:
            raise ValueError(f"takes {several}; got '{' '.join(words)}'") from None

    return PrimitiveConstructorSpec(
        nargs="*",
        metavar=f"{metavar} [{metavar} ...]",
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda value: [_shown(each) for each in value],
    )


def optional(info: PrimitiveTypeInfo) -> Spec | UnsupportedTypeAnnotationError | None:
    """Read a value of type ``T | None`` as one of type T: to mean None, leave the option out."""
    kinds = get_args(info.type)
    if info.type_origin not in (Union, types.UnionType) or len(kinds) != 2 or kinds[1] is not type(None):
        return None
    spec = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(kinds[0], info.markers))
    if isinstance(spec, UnsupportedTypeAnnotationError):
        return spec
    return dataclasses.replace(
        spec,
        is_instance=lambda value: value is None or spec.is_instance(value),
        str_from_instance=lambda value: ["none"] if value is None else spec.str_from_instance(value),
    )


def _shown(value: float) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
