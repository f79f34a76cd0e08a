"""Find what a controller's card is made from: its file, its run's logs and its filed evaluation."""

from __future__ import annotations

from pathlib import Path

from metarl.core.errors import Refusal
from metarl.experiments.analysis.model_card import Sources
from metarl.experiments.paper.results import default_results
from metarl.policies.controller import Controller
from metarl.policies.files.pretrained import filed_by, ships
from metarl.policies.loading import load


def sources_of(path: Path) -> Sources:
    """Return what a card is made from; raise Refusal for an image network."""
    controller = load(path)
    if not isinstance(controller, Controller):
        raise Refusal("a card is about a policy, and this is an image network")
    name, shipped = path.as_posix(), ships(path)
    return Sources(name, controller, folder_of(path), shipped, filed_by(name) if shipped else None)


def folder_of(controller: Path) -> Path | None:
    """Return where a controller's logs are: its run's folder, the filed result of one that ships, None if unknown."""
    if ships(controller):
        return default_results() / controller
    if controller.is_dir():
        return controller
    return controller.parent if controller.is_file() else None
