"""Where the controllers of filed results are."""

from __future__ import annotations

from pathlib import Path

from metarl.policies.files.pretrained import SUFFIX, TRAINED
from metarl.runs import folder as run_folder


def controller_path(results: Path, family: str, name: str) -> Path:
    """Return the path of a filed result's controller.

    The controllers of a checkout's results are the pretrained ones. Elsewhere, and of further seeds, a controller lies
    in its result's folder.
    """
    trained = results.resolve().parent.parent / "policies" / TRAINED.name
    if trained.is_dir() and "-seed" not in name:
        return trained / family / f"{name}{SUFFIX}"
    return results / family / name / run_folder.CONTROLLER
