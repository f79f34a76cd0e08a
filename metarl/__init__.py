"""metarl: meta-train a controller in the cloud, adapt it on a robot with kilobytes of memory.

What most users need is loaded on first use, so that ``import metarl`` stays light::

    import metarl
    controller = metarl.train("navigation-2d", iterations=100)
    adapted = metarl.adapt(controller, task={"goal_x": 0.3, "goal_y": -0.2})
    returns = metarl.evaluate(controller, tasks=40)
    controller = metarl.load("runs/navigation-2d/controller.safetensors")
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metarl.api import adapt, evaluate, resume, train
    from metarl.policies.classifier import Classifier, load_classifier
    from metarl.policies.controller import load
    from metarl.policies.recorder import Recorder

__all__ = ["Classifier", "Recorder", "adapt", "evaluate", "load", "load_classifier", "resume", "train"]
__version__ = "0.1.0"

# In a checkout the rooms envs/, policies/ and experiments/ stand beside this folder; a wheel holds them inside it.
_checkout = Path(__file__).resolve().parent.parent
if (_checkout / "pyproject.toml").is_file() and (_checkout / "envs").is_dir():
    __path__.append(str(_checkout))

_HOME = {
    "adapt": "metarl.api",
    "evaluate": "metarl.api",
    "resume": "metarl.api",
    "train": "metarl.api",
    "load": "metarl.policies.controller",
    "load_classifier": "metarl.policies.classifier",
    "Classifier": "metarl.policies.classifier",
    "Recorder": "metarl.policies.recorder",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'metarl' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)
