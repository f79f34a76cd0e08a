"""A run's folder: the names of its files, its configuration, and the lock that one process holds."""

from __future__ import annotations

import json
import os
import platform
import shutil
import textwrap
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from metarl.core.atomic import CannotWrite, write_atomically
from metarl.core.errors import Refusal
from metarl.core.version import __version__
from metarl.policies.files.pretrained import CONTROLLER as CONTROLLER
from metarl.runs.training import Training

Parsed = TypeVar("Parsed")

PROGRESS = "progress.csv"
TIMINGS = "timings.csv"
CONFIG = "config.json"
CHECKPOINTS = "checkpoints"
TENSORBOARD = "tensorboard"
LOCK, HOLDER = ".lock", ".lock-holder"
OURS = (CONTROLLER, PROGRESS, TIMINGS, CONFIG, CHECKPOINTS, TENSORBOARD, LOCK, HOLDER)
PACKAGES = ("torch", "mujoco", "gymnasium", "numpy", "stable-baselines3")
# What may change when a run goes on: where its images lie, and what its numbers do not depend on.
CHANGEABLE = ("iterations", "threads", "data")
LONGEST = 100  # characters of a value in a sentence


def configuration(training: Training) -> dict[str, Any]:
    """Return what ``config.json`` holds: a training's settings, what it trains on, and the versions it runs with."""
    versions = {"metarl": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return {
        "family": training.family_name,
        "settings": asdict(training.settings),
        "trained_on": training.trained_on,
        "versions": versions,
        "machine": platform.machine(),
    }


def write_config(folder: Path, training: Training) -> None:
    """Write ``config.json``; CannotWrite if that is not possible."""
    content = json.dumps(configuration(training), indent=2, default=str)
    write_atomically(folder / CONFIG, f"{content}\n".encode())


def parse_config(folder: Path, parse: Callable[[dict[str, Any]], Parsed]) -> Parsed:
    """Return what ``parse`` makes of ``config.json``; Refusal says why the folder is not that of such a run."""
    path = folder / CONFIG
    try:
        return parse(json.loads(path.read_text()))
    except OSError as error:
        raise Refusal(f"{folder} is not the folder of a run: {path.name}: {error.strerror or error}") from None
    except (KeyError, TypeError, AttributeError, RecursionError):
        raise Refusal(f"{path} is not the configuration of a run") from None
    except ValueError as error:
        raise Refusal(f"{path} is not the configuration of a run: {error}") from None


def digest(training: Training, known: Collection[str] | None = None) -> str:
    """Return a digest of all that a training's numbers depend on, which its checkpoints carry.

    ``known`` are the names of the settings that count, for a run of a version that had fewer; all of them if None.
    """
    settings = {
        name: value
        for name, value in asdict(training.settings).items()
        if name not in CHANGEABLE and (known is None or name in known)
    }
    content = [training.family_name, settings, training.trained_on]
    return sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def check_trained_on(folder: Path, training: Training) -> None:
    """Raise Refusal, which tells what differs, unless a run's folder was begun on what the training trains on."""
    begun: dict[str, Any] = parse_config(folder, lambda content: dict(content["trained_on"]))
    now = json.loads(json.dumps(training.trained_on, default=str))
    if differing := list(differences(begun, now)):
        raise Refusal(f"{folder} was begun on another {training.family_name}: {'; '.join(differing[:5])}")


def differences(begun: Mapping[str, Any], now: Mapping[str, Any], where: str = "") -> Iterator[str]:
    """Yield a sentence for every place where two JSON objects differ; long values are cut."""
    for name in {**begun, **now}:
        old, new = begun.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from differences(old, new, f"{where}{name} ")
        elif old != new:
            was, now_is = (textwrap.shorten(json.dumps(value), LONGEST) for value in (old, new))
            yield f"{where}{name} was {was} and is {now_is}"


@contextmanager
def new_folder(folder: Path, is_worth_keeping: Callable[[], bool]) -> Iterator[None]:
    """Make a run's folder and keep every other process from training in it.

    The folder must be empty or not exist; Refusal says why it cannot be used, and leaves it as it was. Unless
    ``is_worth_keeping`` at the end, what the run made is removed again.
    """
    check_is_empty(folder)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refusal(f"cannot write to {folder}: {error.strerror or error}") from None
    with exclusive(folder):
        check_is_empty(folder)  # another run may have begun and ended here meanwhile
        try:
            yield
        finally:
            if not is_worth_keeping():
                remove_run(folder, made)


def check_is_empty(folder: Path) -> None:
    """Raise Refusal if there is anything but a lock at a run's place."""
    is_taken = folder.exists() and (not folder.is_dir() or {path.name for path in folder.iterdir()} - {LOCK, HOLDER})
    if is_taken:
        raise Refusal(f"{folder} exists already and is not overwritten: choose another folder with --out")


def remove_run(folder: Path, made: list[Path]) -> None:
    """Remove a run's files, and those of the folders ``made`` for it that are empty then."""
    for name in OURS:
        path = folder / name
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    with suppress(OSError):
        for path in made:
            path.rmdir()


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Keep every other process from training in the folder; Refusal says which process does already."""
    lock = FileLock(folder / LOCK)
    holder = folder / HOLDER
    try:
        lock.acquire(timeout=0)
    except Timeout:
        who = holder.read_text() if holder.is_file() else "another process"
        raise Refusal(f"{folder} is in use: {who} trains in it") from None
    except OSError as error:
        raise Refusal(f"cannot write to {folder}: {error.strerror or error}") from None
    try:
        with suppress(CannotWrite):  # it is only told to others
            write_atomically(holder, f"process {os.getpid()} on {platform.node()}, since {time.ctime()},".encode())
        yield
    finally:
        lock.release()
