"""metarl: meta-train a controller in the cloud, adapt it on a robot with kilobytes of memory.

What most users need is loaded on first use, so that ``import metarl`` stays light::

    import metarl
    controller = metarl.train("navigation-2d", iterations=100)
    adapted = metarl.adapt(controller, task={"goal_x": 0.3, "goal_y": -0.2})
    returns = metarl.evaluate(controller, tasks=40)
    controller = metarl.load("runs/navigation-2d/controller.safetensors")
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metarl.core.version import __version__ as __version__

if TYPE_CHECKING:
    from metarl.api import adapt, bases, evaluate, federate, int8, nest, prune, resume, train
    from metarl.policies.classifier import Classifier
    from metarl.policies.controller import Controller
    from metarl.policies.export.sb3 import to_sb3
    from metarl.policies.loading import load, load_classifier
    from metarl.policies.nested import load_nested
    from metarl.policies.recorder import Recorder

__all__ = [
    "Classifier",
    "Controller",
    "Recorder",
    "adapt",
    "bases",
    "evaluate",
    "federate",
    "int8",
    "load",
    "load_classifier",
    "load_nested",
    "nest",
    "prune",
    "resume",
    "to_sb3",
    "train",
]

_MODULES = {
    "adapt": "metarl.api",
    "bases": "metarl.api",
    "evaluate": "metarl.api",
    "federate": "metarl.api",
    "int8": "metarl.api",
    "nest": "metarl.api",
    "prune": "metarl.api",
    "resume": "metarl.api",
    "train": "metarl.api",
    "to_sb3": "metarl.policies.export.sb3",
    "load": "metarl.policies.loading",
    "load_classifier": "metarl.policies.loading",
    "load_nested": "metarl.policies.nested",
    "Classifier": "metarl.policies.classifier",
    "Controller": "metarl.policies.controller",
    "Recorder": "metarl.policies.recorder",
}

# In a checkout three rooms stand beside this folder; a wheel holds them inside it.
if not (Path(__file__).parent / "envs").is_dir():
    from metarl.core.checkout import RoomFinder

    sys.meta_path.append(RoomFinder(Path(__file__).resolve().parent.parent))


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'metarl' has no attribute '{name}'")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
