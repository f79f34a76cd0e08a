"""What a search may change: settings, each with the range or the choices that it is drawn from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from metarl.core.errors import Refusal
from metarl.core.settings import check_names
from metarl.policies.methods import get_method
from metarl.rl.settings import TrainSettings, with_overrides

# What all trials share: what they are compared by, how long they train, and what --method names.
SHARED = ("method", "iterations", "seed", "horizon", "hidden_sizes", "threads")
FORM = "NAME=LOW:HIGH, NAME=LOW:HIGH:log or NAME=VALUE/VALUE"
DIGITS = 4  # of a number that is drawn: more tell nothing, and make a preset hard to read

Value = float | int | bool | str


@dataclass(frozen=True)
class Range:
    """A setting drawn evenly from [low, high], on a logarithmic scale if ``log``; a whole number if ``whole``."""

    name: str
    low: float
    high: float
    log: bool = False
    whole: bool = False

    @property
    def ends(self) -> tuple[Value, ...]:
        """The lowest and the highest value."""
        return (int(self.low), int(self.high)) if self.whole else (self.low, self.high)

    def holds(self, value: Any) -> bool:
        """Return whether it may be drawn."""
        return isinstance(value, int | float) and self.low <= value <= self.high

    def rounded(self, value: Value) -> Value:
        """Return a drawn number with few digits."""
        return value if self.whole else min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)

    def __str__(self) -> str:
        return f"{self.name}={self.low:g}:{self.high:g}{':log' if self.log else ''}"


@dataclass(frozen=True)
class Choice:
    """A setting that takes one of several values."""

    name: str
    ends: tuple[Value, ...]

    def holds(self, value: Any) -> bool:
        """Return whether it may be drawn."""
        return value in self.ends

    def rounded(self, value: Value) -> Value:
        """Return the choice as it is."""
        return value

    def __str__(self) -> str:
        return f"{self.name}={'/'.join(map(shown, self.ends))}"


Dimension = Range | Choice


def shown(value: Value) -> str:
    """Return a value as it is typed."""
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def usual_space(settings: TrainSettings) -> tuple[Dimension, ...]:
    """Return what is worth a search for a method: about a factor of ten to both sides of its usual step and rates.

    It is the step sizes, the length of the outer step, lambda of the advantages, and what the method alone has.
    """
    method = get_method(settings.method)
    space = [Range("gae_lambda", 0.9, 1.0)]
    if method.adapts:
        alpha = 1.0 if method.takes_context else 0.1
        space.append(Range("step_size", alpha / 10, alpha * 10, log=True))
    if method.outer == "gradient":
        space.append(Range("max_kl", 0.003, 0.3, log=True))
    else:
        space.append(Range("outer_lr", 0.1, 1.0, log=True))
    if method.step_sizes == "sparse":
        space.append(Range("lasso", 0.001, 0.3, log=True))
    if method.attention:
        space += [Range("attention_lr", 1e-4, 1e-2, log=True), Range("attention_kl", 0.02, 0.5, log=True)]
    return tuple(space)


def parse_space(words: Sequence[str]) -> tuple[Dimension, ...]:
    """Return what words such as ``max_kl=0.003:0.3:log`` or ``gate=none/return`` describe.

    Raise Refusal for a word of another form, an unknown setting or one that all trials share, reversed bounds, and a
    logarithmic range that is not above 0.
    """
    space = tuple(map(parse_dimension, words))
    names = [dimension.name for dimension in space]
    if twice := [name for name in names if names.count(name) > 1]:
        raise Refusal(f"--search names '{twice[0]}' twice")
    return space


def parse_dimension(word: str) -> Dimension:
    """Return what one word describes; see ``parse_space``."""
    name, equals, text = word.partition("=")
    if not (name and equals and text):
        raise Refusal(f"--search takes {FORM}, e.g. step_size=0.01:1:log, got '{word:.60}'")
    check_names(TrainSettings, [name])
    if name in SHARED:
        raise Refusal(f"'{name}' is not searched: all trials share {', '.join(SHARED)}")
    if "/" in text:
        values = tuple(parse_value(name, value) for value in text.split("/"))
        if len(set(values)) < len(values):
            raise Refusal(f"the choices of '{name}' in --search name a value twice: {text:.60}")
        return Choice(name, values)
    return parse_range(name, text)


def parse_range(name: str, text: str) -> Range:
    """Return the range that ``LOW:HIGH`` or ``LOW:HIGH:log`` describes."""
    low_word, _, rest = text.partition(":")
    high_word, _, scale = rest.partition(":")
    if not high_word or scale not in ("", "log"):
        raise Refusal(f"--search takes {FORM}, got '{name}={text:.60}'")
    if kind_of(name) not in (int, float):
        raise Refusal(f"'{name}' is no number: --search takes its values, as in {name}={'/'.join(choices_of(name))}")
    low, high = (parse_value(name, each) for each in (low_word, high_word))
    if not isinstance(low, int | float) or not isinstance(high, int | float):
        raise TypeError(f"{name} is a number")
    if low >= high:
        raise Refusal(f"the low bound of '{name}' in --search must be below the high one, got {low:g}:{high:g}")
    if scale and low <= 0:
        raise Refusal(f"a logarithmic range lies above 0: '{name}' in --search got {low:g}:{high:g}:log")
    return Range(name, low, high, bool(scale), kind_of(name) is int)


def parse_value(name: str, text: str) -> Value:
    """Return a setting's value from text; raise Refusal if it is of another kind."""
    kind = kind_of(name)
    if kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            what = "a whole number" if kind is int else "a finite number"
            raise Refusal(f"'{name}' in --search must be {what}, got '{text:.60}'")
        return value  # type: ignore[no-any-return]
    if text not in choices_of(name):
        raise Refusal(f"'{name}' in --search may be {', '.join(choices_of(name))}, got '{text:.60}'")
    return text == "true" if kind is bool else text


def kind_of(name: str) -> Any:
    """Return the type of a setting, without its limits."""
    return get_type_hints(TrainSettings)[name]


def choices_of(name: str) -> tuple[str, ...]:
    """Return the values of a setting that is no number, as they are typed."""
    kind = kind_of(name)
    return get_args(kind) if get_origin(kind) is Literal else ("true", "false")


def check_space(space: Sequence[Dimension], settings: TrainSettings) -> None:
    """Raise Refusal for a bound or a choice that a setting does not allow."""
    for dimension in space:
        for value in dimension.ends:
            with_overrides(settings, {dimension.name: value})
