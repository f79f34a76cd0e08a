"""Where the controllers of filed results are."""

from __future__ import annotations

from pathlib import Path

from metarl.policies.files.pretrained import SUFFIX, TRAINED
from metarl.runs import folder as run_folder


def controller_path(results: Path, family: str, method: str) -> Path:
    """Return the path of a filed result's controller.

    The controllers of a checkout's results are the pretrained ones; elsewhere a controller lies in its result's folder.
    """
    trained = results.resolve().parent.parent / "policies" / TRAINED.name
    if trained.is_dir():
        return trained / family / f"{method}{SUFFIX}"
    return results / family / method / run_folder.CONTROLLER
