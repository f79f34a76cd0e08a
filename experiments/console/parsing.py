"""From the words of a command line to typed dataclasses."""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import tyro

from metarl.core.errors import Refusal
from metarl.experiments.console.constructors import CONFIG, registry

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Command = TypeVar("Command")


def parse(
    kind: type[Command],
    arguments: Sequence[str],
    prog: str,
    default: Command | None = None,
    description: str | None = None,
) -> Command:
    """Return the dataclass ``kind`` filled from the words of a command line.

    ``--help`` prints the help and raises SystemExit(0). For words that do not fit, tyro's box is printed to stderr and
    SystemExit(2) raised.

    Args:
        kind: Dataclass with a default for every option that need not be given.
        arguments: The words after the command.
        prog: The command as the user types it, e.g. ``metarl adapt``.
        default: Values in place of the dataclass's own defaults.
        description: Text above the options in the help, in place of the dataclass's docstring.

    Returns:
        The command.

    Raises:
        Refusal: The dataclass refuses the values.
    """
    plain = bool(os.environ.get("NO_COLOR")) or not (sys.stdout.isatty() and sys.stderr.isatty())
    tyro._experimental_options["ansi_codes"] = not plain
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            return tyro.cli(
                kind,
                prog=prog,
                args=arguments,
                description=_wrapped(description or inspect.getdoc(kind) or ""),
                default=tyro.MISSING_NONPROP if default is None else default,
                config=CONFIG,
                registry=registry(),
            )
    except SystemExit as stop:
        if refusal := _refusal_behind(stop):
            raise Refusal(f"{refusal} (see {prog} --help)") from None
        print(box.getvalue(), end="", file=sys.stderr)
        raise


def _wrapped(text: str) -> str:
    """Return a description whose lines fit the terminal; tyro joins lines unless those that go on are indented."""
    wrapper = textwrap.TextWrapper(
        min(80, shutil.get_terminal_size().columns),
        subsequent_indent="  ",
        break_on_hyphens=False,
        break_long_words=False,
    )
    return "\n\n".join(map(wrapper.fill, text.split("\n\n")))


def _refusal_behind(error: BaseException) -> Refusal | None:
    """Return the Refusal of a dataclass that tyro caught before it raised ``error``."""
    cause = error.__context__
    return cause if cause is None or isinstance(cause, Refusal) else _refusal_behind(cause)


def parse_task(words: Sequence[str]) -> dict[str, float]:
    """Return the named values of a task from words like ``target_velocity=1.5``."""
    task: dict[str, float] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals):
            raise Refusal(f"--task takes NAME=VALUE, e.g. target_velocity=1.5, got '{word}'")
        if name in task:
            raise Refusal(f"--task names '{name}' twice")
        try:
            task[name] = float(value)
        except ValueError:
            raise Refusal(f"the value of '{name}' in --task must be a number, got '{value}'") from None
    return task


def require_at_least(least: int, **options: int | None) -> None:
    """Raise Refusal naming the option that is below ``least``; an option that was not given is None."""
    for name, value in options.items():
        if value is not None and value < least:
            raise Refusal(f"{_option(name)} must be at least {least}, got {value}")


def refuse(options: DataclassInstance, why: str, *names: str) -> None:
    """Raise Refusal naming the first option that is not at its default, of these ``names`` or, without any, of all."""
    for field in fields(options):
        if field.name in (names or (field.name,)) and getattr(options, field.name) != field.default:
            raise Refusal(f"{_option(field.name)} {why}")


def check_new_file(path: Path) -> None:
    """Raise Refusal if a file cannot be written there, or if something is there already."""
    if path.exists():
        raise Refusal(f"{path} exists already and is not overwritten: choose another name")
    if not path.parent.is_dir():
        raise Refusal(f"cannot write {path}: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise Refusal(f"cannot write {path}: the folder {path.parent} is not writable")


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
