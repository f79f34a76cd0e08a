"""Begin a federation by the names of its settings: who the clients are, where the server starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from metarl.core.errors import Refusal
from metarl.core.settings import check_names
from metarl.envs.family import TaskFamily
from metarl.envs.images.image_set import Progress
from metarl.fleet.federated.images import ImageClientSettings, image_clients
from metarl.fleet.federated.robots import RobotSettings, random_controller, robots
from metarl.fleet.federated.rounds import Population
from metarl.fleet.federated.settings import FederationSettings
from metarl.policies.classifier import Classifier
from metarl.policies.controller import Controller

IMAGES = "images"


def suited(family: str, mode: str) -> dict[str, Any]:
    """Return the settings that suit clients: robots' gradients are noisy and of any size, so their server takes Adam.

    A trust region does not federate: its Fisher products and its line search need every robot several times a step.
    """
    if family == IMAGES:
        return {"learning_rate": 0.02}
    if mode == "fedavg":
        return {"clients": 40, "per_round": 10, "learning_rate": 0.05, "score_every": 10}
    return {"clients": 40, "per_round": 10, "optimizer": "adam", "learning_rate": 0.003, "score_every": 10}


def read_names(family: str, given: Mapping[str, Any]) -> tuple[FederationSettings, ImageClientSettings | RobotSettings]:
    """Return the settings of the federation and of its clients by their names; Refusal for a name that is neither's."""
    kind: type[ImageClientSettings | RobotSettings] = ImageClientSettings if family == IMAGES else RobotSettings
    mine = {field.name for field in fields(kind)}
    own = {name: value for name, value in given.items() if name in mine}
    others = {name: value for name, value in given.items() if name not in mine}
    check_names(FederationSettings, others)
    if family == IMAGES and "data" not in own:
        raise Refusal("a federation on images needs their folder: name it as data")
    settings = FederationSettings(**{**suited(family, str(others.get("mode"))), **others})
    return settings, kind(**own)


@contextmanager
def population_of(
    family: TaskFamily | None,
    settings: FederationSettings,
    own: ImageClientSettings | RobotSettings,
    init: Controller | Classifier | None,
    progress: Progress | None = None,
) -> Iterator[Population]:
    """Make the clients of a federation, and free what they hold afterwards.

    Args:
        family: The task family of robots; None for images.
        settings: The settings of the federation.
        own: Those of its clients.
        init: What the server starts with, or None.
        progress: Is told how many images are decoded.

    Raises:
        Refusal: If what to start from does not fit, or the images do not suffice.
    """
    if isinstance(own, ImageClientSettings):
        if isinstance(init, Controller):
            raise Refusal("a federation on images starts from an image network, and this is a policy")
        yield image_clients(settings, own, init, progress)
        return
    if isinstance(init, Classifier) or family is None:
        raise Refusal("a federation of robots starts from a policy, and this is an image network")
    if init is not None and (own.method != RobotSettings.method or own.step_size is not None):
        raise Refusal("method and step size are those of the controller to start from: leave them out")
    begun = random_controller(family, own, settings.seed) if init is None else init
    with robots(family, settings, own, begun) as population:
        yield population
