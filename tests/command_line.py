"""Calling the command line from tests, on settings so small that a training takes a second."""

from __future__ import annotations

import contextlib
import io
import shlex
from dataclasses import dataclass

from metarl.experiments.cli import main

FAMILY = "navigation-2d"
TINY = tuple(
    shlex.split("--iterations 2 --meta-batch-size 2 --episodes-per-task 2 --horizon 5 --hidden-sizes 4 --threads 1")
)


@dataclass(frozen=True)
class Outcome:
    """What a command line gave."""

    code: int
    out: str
    err: str


def metarl(*arguments: object) -> Outcome:
    """Runs the command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
    return Outcome(code, out.getvalue(), err.getvalue())


def succeeds(*arguments: object) -> str:
    """The output of a command that must succeed."""
    outcome = metarl(*arguments)
    assert (outcome.code, outcome.err) == (0, ""), outcome
    return outcome.out


def fails(*arguments: object) -> str:
    """The sentence of a command that must be refused."""
    outcome = metarl(*arguments)
    assert outcome.code == 2 and says_nothing(outcome.out), outcome
    assert outcome.err.startswith("metarl: ") and outcome.err.count("\n") == 1, outcome.err
    return outcome.err.removeprefix("metarl: ").rstrip("\n")


def rejects(*arguments: object) -> str:
    """The text about words that must be refused: the parser's box, or metarl's sentence."""
    outcome = metarl(*arguments)
    assert outcome.code == 2 and says_nothing(outcome.out), outcome
    return " ".join(word for word in outcome.err.split() if word.strip("-│"))


def says_nothing(out: str) -> bool:
    """Whether there is no output but that images were decoded, which happens once."""
    return all(line.startswith("decoded ") for line in out.splitlines())
