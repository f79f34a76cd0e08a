"""A run's folder: the names of its files, its configuration, and the lock that one process holds."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from metarl.core.version import __version__
from metarl.runs.training import Settings

Parsed = TypeVar("Parsed")

CONTROLLER = "controller.safetensors"
PROGRESS = "progress.csv"
TIMINGS = "timings.csv"
CONFIG = "config.json"
LOCK, HOLDER = ".lock", ".lock-holder"
PACKAGES = ("torch", "mujoco", "gymnasium", "numpy", "stable-baselines3")


def create(folder: Path, family: str, settings: Settings) -> None:
    """Make the folder and write ``config.json``; ValueError if it holds anything already or cannot be written."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} exists already and is not overwritten: choose another folder with --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG).write_text(json.dumps(config(family, settings), indent=2, default=str) + "\n")
    except OSError as error:
        raise ValueError(f"cannot write to {folder}: {error.strerror or error}") from None


def config(family: str, settings: Settings) -> dict[str, Any]:
    """Return what the run was asked for, and the versions it runs with."""
    versions = {"metarl": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {"family": family, "settings": asdict(settings), "versions": versions, "machine": platform.machine()}


def parse_config(folder: Path, parse: Callable[[dict[str, Any]], Parsed]) -> Parsed:
    """Return what ``parse`` makes of ``config.json``; ValueError says why the folder is not that of such a run."""
    path = folder / CONFIG
    try:
        return parse(json.loads(path.read_text()))
    except OSError as error:
        raise ValueError(f"{folder} is not the folder of a run: {path.name}: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not the configuration of a run: {error}") from None


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Keep every other process from training in the folder; ValueError says which process does already."""
    lock = FileLock(folder / LOCK)
    holder = folder / HOLDER
    try:
        lock.acquire(timeout=0)
    except Timeout:
        who = holder.read_text() if holder.is_file() else "another process"
        raise ValueError(f"{folder} is in use: {who} trains in it") from None
    except OSError as error:
        raise ValueError(f"cannot write to {folder}: {error.strerror or error}") from None
    try:
        holder.write_text(f"process {os.getpid()} on {platform.node()}, since {time.ctime()},")
        yield
    finally:
        lock.release()
