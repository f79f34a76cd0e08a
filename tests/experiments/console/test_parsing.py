"""Words of a command line, and what is said about them."""

from __future__ import annotations

import os
from dataclasses import dataclass

import pytest

from metarl.experiments.console.parsing import parse, parse_task, require_at_least, sentence


@dataclass(frozen=True)
class Command:
    """A command."""

    size: int = 3
    rate: float = 0.5
    name: str = "x"

    def __post_init__(self) -> None:
        require_at_least(1, size=self.size)


def test_numbers() -> None:
    assert parse(Command, ["--size", "4", "--rate", "1e-3"], "prog") == Command(4, 0.001)
    assert parse(Command, ["--rate=-2"], "prog").rate == -2.0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--size", "x"], "--size must be a whole number, got 'x' (see prog --help)"),
        (["--rate", "x"], "--rate must be a number, got 'x' (see prog --help)"),
        (["--size", "0"], "--size must be at least 1, got 0 (see prog --help)"),
        (["--sice", "4"], "unrecognized options: --sice, 4; perhaps you meant --size (see prog --help)"),
        (["--size"], "missing value for argument '--size'. Expected 1 values (see prog --help)"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(words: list[str], expected: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(Command, words, "prog")
    assert str(caught.value) == expected


def test_long_words_stay_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    word = "/a/" + "long/" * 30
    with pytest.raises(ValueError, match=f"got '{word}'"):
        parse(Command, ["--size", word], "prog")
    assert os.environ["COLUMNS"] == "40"


def test_colours_and_other_box_characters_are_no_part_of_the_sentence() -> None:
    box = "+- \x1b[31mTitle\x1b[0m -+\n| Error parsing --a: is wrong. |\n| ------ |\n| For help, run x |\n+--+\n"
    assert sentence(box) == "--a is wrong"


def test_tasks() -> None:
    assert parse_task(["a=1.5", "b=-2e-1"]) == {"a": 1.5, "b": -0.2}
    assert parse_task([]) == {}
    for words in (["a"], ["=1"], ["a=x"], ["a="], ["a=1", "a=2"]):
        with pytest.raises(ValueError, match="--task"):
            parse_task(words)
