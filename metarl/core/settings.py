"""Settings as dataclasses whose types and limits are stated once, as annotations, and checked where values come in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import Field

from metarl.core.errors import Refusal
from metarl.core.validation import validate_fields

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

AnySettings = TypeVar("AnySettings", bound="DataclassInstance")

AtLeastOne = Annotated[int, Field(ge=1, lt=2**31)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)]
Threads = Annotated[int, Field(ge=1, le=1024)]


def check_settings(settings: DataclassInstance) -> None:
    """Bring every field of a frozen dataclass to its plain Python type, in place; call it in ``__post_init__``.

    Raise Refusal that names the setting whose value has another type or is out of its limits.
    """
    validate_fields(settings, "setting '{}'")


def check_names(kind: type[DataclassInstance], names: Iterable[str]) -> None:
    """Raise Refusal for a name that is no setting, with the setting that may be meant."""
    known = kind.__dataclass_fields__
    for name in names:
        if name not in known:
            meant = get_close_matches(name, known, 1, cutoff=0.62)
            hint = f": did you mean '{meant[0]}'?" if meant else f"; there are {', '.join(known)}"
            raise Refusal(f"unknown setting '{name:.60}'{hint}")


def read_settings(kind: type[AnySettings], content: Mapping[str, Any]) -> AnySettings:
    """Return settings from the content of a JSON file; a name that it lacks takes its default.

    Raise Refusal for an unknown name, for a missing one without a default, and for values that are refused.
    """
    fields = kind.__dataclass_fields__
    check_names(kind, content)
    for name, field in fields.items():
        if name not in content and field.default is MISSING and field.default_factory is MISSING:
            raise Refusal(f"setting '{name}' is missing")
    return kind(**content)
