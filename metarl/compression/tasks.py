"""What controllers are pruned and judged on: a task family for a policy, images for an image network."""

from __future__ import annotations

from typing import TypeVar

from metarl.compression.images import ImageTasks
from metarl.core.errors import Refusal
from metarl.envs.family import TaskFamily
from metarl.policies.classifier import Classifier
from metarl.policies.controller import Controller

Model = TypeVar("Model", Controller, Classifier, Controller | Classifier)
Tasks = TaskFamily | ImageTasks


def family_of(tasks: Tasks) -> TaskFamily:
    """Return the task family of a policy; Refusal if images are given."""
    if isinstance(tasks, ImageTasks):
        raise Refusal("a policy takes a task family, not images: leave --data out")
    return tasks


def images_of(tasks: Tasks) -> ImageTasks:
    """Return the images of an image network; Refusal if a task family is given."""
    if not isinstance(tasks, ImageTasks):
        raise Refusal("an image network takes images, not a task family: name their folder with --data")
    return tasks


def described(controller: Controller | Classifier) -> str:
    """Return the tasks that a controller is for; it can be compared with others for the same ones."""
    if isinstance(controller, Controller):
        return controller.metadata.family
    network, shots = controller.network, controller.metadata.shots
    return f"{network.ways}-way {shots}-shot images of {network.side} x {network.side}"
