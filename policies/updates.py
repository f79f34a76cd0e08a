"""Update a controller by a patch from a server, on a robot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from metarl.core.errors import Refusal
from metarl.policies.controller import Controller
from metarl.policies.files.patch import patched, read_patch
from metarl.policies.loading import load_controller


def apply_patch(controller: Controller, path: str | Path) -> Controller:
    """Return the controller after a patch; its metadata stays.

    Raises:
        Refusal: If the controller is adapted to a task, or the patch is for another one, was applied already, or is
            damaged.
    """
    if controller.metadata.adapted_to is not None:
        raise Refusal(
            "the controller is adapted to a task: patch the meta-trained one that it came from, and adapt again"
        )
    patch = read_patch(Path(path), controller.network, controller.parameters)
    try:
        return replace(controller, parameters=patched(controller.network, controller.parameters, patch))
    except Refusal as error:
        raise Refusal(f"{path}: {error}") from None


def update_file(path: Path, patch: Path) -> Controller:
    """Apply a patch to a controller's file, and return the new controller.

    The file is replaced in one stroke: after a power cut it holds the old controller or the new one. Raise Refusal as
    ``apply_patch`` does; the file then stays.
    """
    controller = apply_patch(load_controller(path), patch)
    controller.save(path, overwrite=True)
    return controller
