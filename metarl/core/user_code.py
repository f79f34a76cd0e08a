"""Errors in code of the user's own: told as one sentence with the file and line where they were raised."""

from __future__ import annotations

import os
import sysconfig
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import MappingProxyType, ModuleType, TracebackType

from metarl.core.errors import NumericalFault, Refusal

LONGEST = 400  # characters of another library's message

_METARL = Path(__file__).resolve().parents[1]
_ROOMS = [_METARL, *(_METARL.parent / room for room in ("envs", "policies", "experiments"))]
_PYTHON = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")]
_INSTALLED = {"site-packages", "dist-packages"}
_WITHOUT_FILE = "<dynamic-code>"  # cloudpickle's name for the file of what it sends by value to a worker process


class UserCodeError(Refusal):
    """An error that the user's code raised, or an answer of it that cannot be used; the cause is attached."""


@contextmanager
def user_code(what: str, hints: Mapping[str, str] = MappingProxyType({})) -> Iterator[None]:
    """Tell an error that is raised inside as one of ``what``, e.g. "make_env of point", with file and line.

    ``hints`` says what parts of an error's message mean. Raise UserCodeError, or NumericalFault for a
    FloatingPointError. What metarl itself refuses passes by.
    """
    try:
        yield
    except (Refusal, NumericalFault):
        raise
    except (Exception, SystemExit) as error:
        raise retold(what, error, hints) from error


@contextmanager
def users_errors(what: str) -> Iterator[None]:
    """Tell an error that comes out of the user's code as ``user_code`` does; one of metarl's own code passes by."""
    try:
        yield
    except (Refusal, NumericalFault):
        raise
    except Exception as error:
        if all(_is_library(file) for file, _ in _outside(error.__traceback__)):
            raise
        raise retold(what, error) from error


def retold(
    what: str, error: BaseException, hints: Mapping[str, str] = MappingProxyType({})
) -> UserCodeError | NumericalFault:
    """Return the error to raise for one that code of the user's has raised; see ``user_code``."""
    hint = next((f": {hint}" for part, hint in hints.items() if part in str(error)), "")
    kind = NumericalFault if isinstance(error, FloatingPointError) else UserCodeError
    return kind(sentence(what, error) + hint)


def imported(what: str, module: str) -> ModuleType:
    """Return a module of the user's; raise Refusal if there is none, and UserCodeError if it fails."""
    try:
        with user_code(f"importing {module} for {what}"):
            return import_module(module)
    except UserCodeError as error:
        cause = error.__cause__
        # A module that the user's module lacks is the user's error, told with its line.
        if isinstance(cause, ModuleNotFoundError) and cause.name and f"{module}.".startswith(f"{cause.name}."):
            raise Refusal(f"{what} cannot be imported: there is no module '{cause.name}'") from None
        raise


def sentence(what: str, error: BaseException) -> str:
    """Return "WHAT failed in FILE, line N: ERROR" in one line of bounded length."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{what} failed in {shown(error.filename)}, line {error.lineno}: {error.msg}"
    message = " ".join(str(error).split())
    if len(message) > LONGEST:
        message = f"{message[:LONGEST]} ..."
    told = f"{type(error).__name__}: {message}" if message else type(error).__name__
    place = origin(error.__traceback__)
    return f"{what} failed{f' in {place}' if place else ''}: {told}"


def origin(trace: TracebackType | None) -> str:
    """Return "FILE, line N" of the innermost call in the user's files, else of the innermost outside metarl.

    Return an empty string if there is neither.
    """
    outside = _outside(trace)
    own = [(file, line) for file, line in outside if not _is_library(file)]
    return next((f"{shown(file)}, line {line}" for file, line in (*own, *outside)), "")


def _outside(trace: TracebackType | None) -> list[tuple[str, int | None]]:
    """Return file and line of the calls outside metarl, the innermost first."""
    frames = ((frame.filename, frame.lineno) for frame in reversed(traceback.extract_tb(trace)))
    return [
        (file, line)
        for file, line in frames
        if file == _WITHOUT_FILE or not (file.startswith("<") or _below(file, _ROOMS))
    ]


def shown(file: str) -> str:
    """Return the file's path as a user would type it: relative if it lies in the current folder."""
    path = Path(file)
    return str(path.relative_to(os.getcwd())) if path.is_relative_to(os.getcwd()) else file


def _is_library(file: str) -> bool:
    return not _INSTALLED.isdisjoint(Path(file).parts) or _below(file, _PYTHON)


def _below(file: str, folders: list[Path]) -> bool:
    return any(Path(file).is_relative_to(folder) for folder in folders)
