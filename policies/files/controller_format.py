"""The file format that controllers of policies and of image networks share, and what tells them apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metarl.core.errors import Refusal
from metarl.policies.files.tensor_file import FileKind

KIND = FileKind(noun="controller", format="metarl-controller", version=2)

POLICY = "gaussian-mlp"


def network_kind(content: Any) -> Any:
    """What a file's metadata says of it, in whatever type; None if it does not say it."""
    network = content.get("network") if isinstance(content, dict) else None
    return network.get("kind") if isinstance(network, dict) else None


def place_for(path: str | Path, overwrite: bool) -> Path:
    """The path to write to; ValueError if there is something already and ``overwrite`` is not set."""
    path = Path(path)
    if path.exists() and not overwrite:
        raise Refusal(f"{path} exists already and is not overwritten: choose another name")
    return path
