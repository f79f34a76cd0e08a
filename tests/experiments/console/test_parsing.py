"""Words of a command line, and what is said about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest
import tyro

from metarl.core.errors import Refusal
from metarl.experiments.console.parsing import parse, parse_task, require_at_least


@dataclass(frozen=True)
class Nested:
    """Options that are refused below the root of the command."""

    depth: int = 1

    def __post_init__(self) -> None:
        require_at_least(1, depth=self.depth)


@dataclass(frozen=True)
class Command:
    """A command."""

    nested: Annotated[Nested, tyro.conf.OmitArgPrefixes] = field(default_factory=Nested)
    """Options."""
    size: int = 3
    """A size."""
    rate: float = 0.5
    """A rate."""
    horizon: int | None = None
    """A length."""
    widths: tuple[int, ...] = (100, 100)
    """Some widths."""
    ratios: tuple[float, ...] = (0.5,)
    """Some ratios."""
    split: Literal["train", "test"] | None = None
    """A split."""

    def __post_init__(self) -> None:
        require_at_least(1, size=self.size)


def test_values() -> None:
    assert parse(Command, ["--size", "4", "--rate", "1e-3"], "prog") == Command(size=4, rate=0.001)
    assert parse(Command, ["--rate=-2"], "prog").rate == -2.0
    assert parse(Command, ["--widths", "4", "5", "--ratios", "1", "2e-1"], "prog") == Command(
        widths=(4, 5), ratios=(1.0, 0.2)
    )
    assert parse(Command, ["--horizon", "7", "--split", "test"], "prog") == Command(horizon=7, split="test")
    assert parse(Command, ["--widths"], "prog").widths == ()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--size", "0"], "--size must be at least 1, got 0 (see prog --help)"),
        (["--depth", "0"], "--depth must be at least 1, got 0 (see prog --help)"),
    ],
)
def test_what_metarl_refuses_is_one_sentence(words: list[str], expected: str) -> None:
    with pytest.raises(Refusal) as caught:
        parse(Command, words, "prog")
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--size", "x"], ["--size", "must be a whole number, got 'x'"]),
        (["--rate", "x"], ["--rate", "must be a number, got 'x'"]),
        (["--horizon", "1.5"], ["--horizon", "must be a whole number, got '1.5'"]),
        (["--widths", "100,100"], ["--widths", "whole numbers with spaces", "100 100; got '100,100'"]),
        (["--ratios", "a", "b"], ["--ratios", "numbers with spaces", "got 'a b'"]),
        (["--split", "x"], ["'--split'", "'x'", "('train', 'test')"]),
        (["--sice", "4"], ["--sice", "--size"]),
        (["--size"], ["'--size'"]),
    ],
)
def test_words_that_do_not_fit_are_told_in_the_parsers_box(
    words: list[str], parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(Command, words, "prog")
    out, err = capsys.readouterr()
    text = " ".join(err.replace("│", " ").split())
    assert caught.value.code == 2 and out == "" and "prog --help" in text
    assert all(part in text for part in parts), text
    assert "\x1b" not in err and "None" not in err and "parse for" not in err


def test_help_is_free_of_jargon(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(Command, ["--help"], "prog")
    out, err = capsys.readouterr()
    assert caught.value.code == 0 and err == "" and "\x1b" not in out
    for line in ("--horizon INT", "--widths INT [INT ...]", "--split {train,test}", "(default: 100 100)"):
        assert line in out
    assert "None" not in out


def test_tasks() -> None:
    assert parse_task(["a=1.5", "b=-2e-1"]) == {"a": 1.5, "b": -0.2}
    assert parse_task([]) == {}
    for words in (["a"], ["=1"], ["a=x"], ["a="], ["a=1", "a=2"]):
        with pytest.raises(Refusal, match="--task"):
            parse_task(words)
