"""Presets in files: settings that ``metarl tune`` has found, or that somebody has written down."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metarl.core.atomic import write_atomically
from metarl.core.errors import Refusal
from metarl.core.settings import check_names
from metarl.core.validation import plain_json
from metarl.rl.settings import TrainSettings, preset

SETTINGS, FOUND = "settings", "found"


def write_preset(path: Path, settings: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Write settings by name, and how they were found, as JSON; an older file is replaced."""
    content = json.dumps({SETTINGS: plain_json(settings), FOUND: plain_json(found)}, indent=2)
    write_atomically(path, f"{content}\n".encode())


def read_preset(path: Path) -> dict[str, Any]:
    """Return the settings of a preset by name; raise Refusal if the file is none or a setting is unknown."""
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise Refusal(f"cannot read the preset {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        content = None
    settings = content.get(SETTINGS) if isinstance(content, dict) else None
    if not isinstance(settings, dict):
        raise Refusal(f"{path} is no preset: that is JSON with the object '{SETTINGS}', as metarl tune writes it")
    try:
        check_names(TrainSettings, settings)
    except Refusal as error:
        raise Refusal(f"the preset {path}: {error}") from None
    return settings


def preset_with(family: str, method: str | None, path: Path | None) -> TrainSettings:
    """Return the settings that suit a family and a method, those of a preset's file before others.

    Args:
        family: The family's name.
        method: The method that is asked for, None if none is.
        path: The file, None for the usual settings.

    Returns:
        The settings. Refusal says why the file cannot be used, or that it is for another method.
    """
    asked = {"method": method} if method else {}
    if path is None:
        return preset(family, **asked)
    found = read_preset(path)
    if method is not None and found.get("method", method) != method:
        raise Refusal(f"the preset {path} is for {found['method']}, not for {method}")
    try:
        return preset(family, **{**found, **asked})
    except Refusal as error:
        raise Refusal(f"the preset {path}: {error}") from None
