"""What a controller's file says beside its tensors: facts that are checked, and records that carry no code."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from pydantic import Field, with_config

from metarl.core.errors import Refusal
from metarl.core.validation import STRICT, Finite, Name, Number, Text, validate_fields
from metarl.policies.advantages import BaselineFeatures

# Every limit is far above what anybody uses, and far below what exhausts a computer that believes the file.
Horizon = Annotated[int, Field(ge=1, le=10**7)]
InnerSteps = Annotated[int, Field(ge=1, le=1000)]
Count = Annotated[int, Field(ge=1, le=10**6)]
Fraction = Annotated[Finite, Field(ge=0, le=1)]
Bounds = tuple[Number, ...]
PRUNING, NESTED, INT8, BASES = "pruning", "nested", "int8", "bases"


@with_config({"extra": "ignore"})
@dataclass(frozen=True)
class Compression:
    """How the parameters are compressed: the kind, and the version of its layout. What else a kind adds is not read."""

    kind: Name
    version: int

    def __post_init__(self) -> None:
        if self.kind in (PRUNING, NESTED, INT8, BASES) and self.version == 1:
            return
        raise Refusal(f"this metarl does not read the compression '{self.kind}' of version {self.version}: upgrade it")


@with_config(STRICT)
@dataclass(frozen=True)
class FieldRecord:
    """A number that differs between tasks, and the interval of its values; with ``choices`` it takes these only."""

    name: Name
    low: Finite
    high: Finite
    unit: Name = ""
    choices: tuple[Finite, ...] = ()

    def __post_init__(self) -> None:
        validate_fields(self)
        if self.low > self.high:
            raise Refusal(f"the task field '{self.name}' must have low <= high, got {self.low:g} and {self.high:g}")
        for choice in self.choices:
            if not self.low <= choice <= self.high:
                raise Refusal(
                    f"the choices of the task field '{self.name}' must lie in [{self.low:g}, {self.high:g}], "
                    f"got {choice:g}"
                )


@with_config(STRICT)
@dataclass(frozen=True)
class ControllerMetadata:
    """What a controller was trained for, and what its inner step needs to know on a device.

    An environment receives the policy's action times ``action_scale``, clipped to the action bounds (which may be
    infinite). ``baseline`` says the features of the linear baseline of the advantages. ``adapted_to`` holds the named
    values of the task that the controller has been adapted to, which are none if nobody has named them; it is None for
    a meta-trained controller. ``training`` is a record for the reader (seed,
    iterations, returns) of anything that JSON can hold; numbers in it that are not finite come back from a file as the
    strings "inf", "-inf" and "nan". Raise ValueError for a value that is not allowed.
    """

    method: Name
    family: Name
    task_fields: tuple[FieldRecord, ...]
    horizon: Horizon
    observation_low: Bounds
    observation_high: Bounds
    action_low: Bounds
    action_high: Bounds
    action_scale: Annotated[Finite, Field(ge=1e-9, le=1e9)]
    inner_steps: InnerSteps
    episodes_per_step: Count
    discount: Fraction
    gae_lambda: Fraction
    baseline: BaselineFeatures = "full"
    adapted_to: dict[Name, Finite] | None = None
    compression: Compression | None = None
    training: dict[Text, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        validate_fields(self)
        names = [each.name for each in self.task_fields]
        for name in names:
            if names.count(name) > 1:
                raise Refusal(f"task_fields has two fields named '{name}': each needs a name of its own")
        for space in ("observation", "action"):
            lows, highs = getattr(self, f"{space}_low"), getattr(self, f"{space}_high")
            if len(lows) != len(highs) or not all(low <= high for low, high in zip(lows, highs, strict=True)):
                raise Refusal(f"{space}_low must be as long as {space}_high and nowhere above it")
        # As a controller clips: a bound of 1e300 is infinite in float32, and as a lower one it lets no action pass.
        with np.errstate(over="ignore"):
            lows, highs = np.array(self.action_low, np.float32), np.array(self.action_high, np.float32)
        if not ((lows < np.inf) & (highs > -np.inf)).all():
            raise Refusal("action_low and action_high must have finite float32 numbers between them")


@with_config(STRICT)
@dataclass(frozen=True)
class ClassifierMetadata:
    """What an image network was trained for.

    A task had ``shots`` images of each class to learn from, in ``inner_steps`` steps on all of them, and ``queries``
    others; they came from the folder ``data``. ``training`` is a record for the reader, as in ``ControllerMetadata``.
    Raise ValueError for a value that is not allowed.
    """

    method: Name
    inner_steps: InnerSteps
    shots: Count
    queries: Count
    data: Annotated[Text, Field(max_length=4096)]
    training: dict[Text, Any] = field(default_factory=dict)
    compression: Compression | None = None

    def __post_init__(self) -> None:
        validate_fields(self)
