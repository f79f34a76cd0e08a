"""Find what a controller's card is made from: its file, its run's logs and its filed evaluation."""

from __future__ import annotations

from pathlib import Path

from metarl.core.errors import Refusal
from metarl.experiments.analysis.model_card import Sources
from metarl.experiments.paper.results import default_results
from metarl.policies.controller import Controller
from metarl.policies.files.pretrained import pretrained_files
from metarl.policies.loading import load


def sources_of(path: Path) -> Sources:
    """Return what a card is made from; raise Refusal for an image network."""
    controller = load(path)
    if not isinstance(controller, Controller):
        raise Refusal("a card is about a policy, and this is an image network")
    return Sources(path.as_posix(), controller, folder_of(path))


def folder_of(controller: Path) -> Path | None:
    """Return where a controller's logs are: its run's folder, the filed result of one that ships, None if unknown."""
    if controller.is_dir():
        return controller
    if controller.as_posix() in pretrained_files() and not controller.exists():
        return default_results() / controller
    return controller.parent if controller.is_file() else None
