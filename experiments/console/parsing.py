"""From the words of a command line to typed dataclasses; what is wrong with them becomes one sentence."""

from __future__ import annotations

import contextlib
import io
import os
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

Command = TypeVar("Command")

NUMBERS: dict[type, tuple[str, str]] = {int: ("INT", "a whole number"), float: ("FLOAT", "a number")}


def parse(
    kind: type[Command],
    arguments: Sequence[str],
    prog: str,
    default: Command | None = None,
    description: str | None = None,
) -> Command:
    """The dataclass ``kind`` filled from a command line.

    ``--help`` prints the help and raises SystemExit(0). ValueError says in one sentence what is wrong.
    """
    wants_help = not {"-h", "--help"}.isdisjoint(arguments)
    captured = io.StringIO()
    try:
        with contextlib.redirect_stderr(captured), contextlib.nullcontext() if wants_help else _unwrapped():
            return tyro.cli(
                kind,
                prog=prog,
                args=arguments,
                description=description,
                registry=_registry(),
                default=tyro.MISSING_NONPROP if default is None else default,
            )
    except SystemExit as stop:
        if not stop.code:
            raise
    raise ValueError(sentence(captured.getvalue()) + f" (see {prog} --help)")


def sentence(box: str) -> str:
    """What tyro says in a box, as one sentence. The title stands on the first line; rules part what follows."""
    lines = [line.strip("│|").rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines()[1:]]
    parts = re.split(r"^[\s╰╯+─-]+$", "\n".join(lines), flags=re.MULTILINE)
    problem = textwrap.dedent(next(part for part in parts if part.strip())).splitlines()
    # The help of an option stands further to the right than the option.
    text = " ".join(line.strip() for line in problem if line.strip() and not line.startswith(" " * 8))
    text = re.sub(r"^Error parsing (--\S+): ", r"\1 ", text)
    text = re.sub(r"^Error parsing [^-]\S*: ", "", text)
    text = re.sub(r"no type matching (\S+) could be instantiated from \[(.*)\]", r"must be \1, got \2", text)
    meant = re.findall(r"^ {1,7}(--[\w-]+)", "\n".join(part for part in parts if "you meant:" in part), re.MULTILINE)
    text = text[:1].lower() + text[1:].rstrip(".")
    return f"{text}; perhaps you meant {' or '.join(meant)}" if meant else text


def parse_task(words: Sequence[str]) -> dict[str, float]:
    """The named values of a task from words like ``target_velocity=1.5``."""
    task: dict[str, float] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals):
            raise ValueError(f"--task takes NAME=VALUE, e.g. target_velocity=1.5, got '{word}'")
        if name in task:
            raise ValueError(f"--task names '{name}' twice")
        try:
            task[name] = float(value)
        except ValueError:
            raise ValueError(f"the value of '{name}' in --task must be a number, got '{value}'") from None
    return task


def require_at_least(least: int, **options: int | None) -> None:
    """ValueError names the option that is below; one that was not given is None."""
    for name, value in options.items():
        if value is not None and value < least:
            raise ValueError(f"{_option(name)} must be at least {least}, got {value}")


def refuse(command: object, options: Sequence[str], why: str) -> None:
    """ValueError names the first of the options that is given, that is not None in the ``command``'s dataclass."""
    for name in options:
        if getattr(command, name) is not None:
            raise ValueError(f"{_option(name)} {why}")


def check_new_file(path: Path) -> None:
    """ValueError if a file could not be written there, or if something is there already."""
    if path.exists():
        raise ValueError(f"{path} exists already and is not overwritten: choose another name")
    if not path.parent.is_dir():
        raise ValueError(f"cannot write {path}: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise ValueError(f"cannot write {path}: the folder {path.parent} is not writable")


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


@contextlib.contextmanager
def _unwrapped() -> Iterator[None]:
    """Keeps tyro from breaking its messages, and the paths in them, at the terminal's width."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "10000"
    try:
        yield
    finally:
        del os.environ["COLUMNS"]
        if before is not None:
            os.environ["COLUMNS"] = before


def _registry() -> ConstructorRegistry:
    registry = ConstructorRegistry()

    @registry.primitive_rule
    def number(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
        if info.type not in NUMBERS:
            return None
        metavar, what = NUMBERS[info.type]
        return PrimitiveConstructorSpec(
            nargs=1,
            metavar=metavar,
            instance_from_str=_reader(info.type, what),
            is_instance=lambda value: isinstance(value, int | float),
            str_from_instance=lambda value: [f"{value:g}" if isinstance(value, float) else str(value)],
        )

    return registry


def _reader(kind: Callable[[str], Any], what: str) -> Callable[[list[str]], Any]:
    def read(words: list[str]) -> Any:
        try:
            return kind(words[0])
        except ValueError:
            raise ValueError(f"must be {what}, got '{words[0]}'") from None

    return read
