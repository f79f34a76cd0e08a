"""Imports from a checkout, where the rooms stand beside the package and not inside it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

ROOMS = ("envs", "experiments", "policies")


class RoomFinder:
    """Find ``metarl.envs``, ``metarl.experiments`` and ``metarl.policies`` in a checkout, and nothing else."""

    def __init__(self, checkout: Path) -> None:
        self.folders = {f"metarl.{room}": checkout / room for room in ROOMS}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a room, None for every other module.

        The signature is fixed by ``importlib.abc.MetaPathFinder``.
        """
        folder = self.folders.get(name)
        if folder is None:
            return None
        return spec_from_file_location(name, folder / "__init__.py", submodule_search_locations=[str(folder)])
