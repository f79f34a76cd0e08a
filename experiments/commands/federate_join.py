"""``metarl federate join``: be one client of a federation's server."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro

from metarl.core.errors import Refusal
from metarl.core.settings import read_settings
from metarl.core.threads import available_threads, single_threaded_torch
from metarl.envs.registry import FAMILIES
from metarl.experiments.console.constructors import Family, FieldWords, Maybe
from metarl.experiments.console.families import family_by_name
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import parse, require_at_least
from metarl.fleet.federated.images import ImageClientSettings
from metarl.fleet.federated.robots import RobotSettings
from metarl.fleet.federated.run import IMAGES, population_of
from metarl.fleet.federated.settings import FederationSettings
from metarl.fleet.federated.weights import layout_of
from metarl.policies.controller import Controller
from metarl.policies.files.controller_file import from_json
from metarl.policies.files.metadata import ControllerMetadata

MOST_NUMBERS = 2**29  # of a model, which a server may ask a client to hold


@dataclass(frozen=True)
class Join:
    """Be one client of a server that runs metarl federate --serve, until its last round.

    The settings come from the server. The data are the client's own: its share of a folder, or its robot's task.
    """

    address: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="HOST:PORT")]
    """Where the server is."""
    client: int
    """Number of the client, from 0."""
    data: Maybe[Path] = None
    """Folder of the images, for a federation on images."""
    family: Family = None
    """Task family, where it is one of your own: the server's word alone does not import code."""
    fields: FieldWords = ()
    """Numbers of the environment gym:ID that make a task, as the server was told."""
    threads: int = available_threads()
    """Threads of the simulator."""
    patience: float = 60.0
    """Seconds to wait for the server in each call."""

    def __post_init__(self) -> None:
        require_at_least(0, client=self.client)
        require_at_least(1, threads=self.threads)


def join(arguments: Sequence[str]) -> None:
    """Run the command; raise Refusal saying what is wrong with its arguments, or with the server."""
    from metarl.fleet.federated.serving import Connection, take_part

    command, console = parse(Join, arguments, "metarl federate join"), Terminal()
    with Connection(command.address, command.client, command.patience) as connection:
        content = told(connection.call("Join"))
        settings = read_settings(FederationSettings, content["settings"])
        about, shapes = content["clients"], {name: tuple(shape) for name, shape in content["shapes"].items()}
        if sum(map(math.prod, shapes.values())) > MOST_NUMBERS:
            raise Refusal(f"the server's model is larger than {MOST_NUMBERS:,} numbers")
        begun = None if content["controller"] is None else empty_controller(content["controller"], shapes)
        own = own_settings(command, about)
        family = None if about["family"] == IMAGES else family_by_name(family_name(command, about), command.fields)
        with single_threaded_torch(), population_of(family, settings, own, begun) as population:
            placeholders = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
            layout = layout_of(population.network, placeholders, population.trained, settings.bits)
            console.print(f"client {command.client} of {settings.clients} is ready", soft_wrap=True)
            answered = take_part(connection, population, layout, settings)
    console.print(f"the federation is over; {answered} rounds answered", soft_wrap=True)


def told(message: bytes) -> dict[str, Any]:
    """Return what a server says of its federation; raise Refusal if that is something else."""
    try:
        content = json.loads(message)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or content.keys() != {"settings", "clients", "controller", "shapes"}:
        raise Refusal("the server is not one of a metarl federation")
    return content


def empty_controller(text: str, shapes: dict[str, tuple[int, ...]]) -> Controller:
    """Return a controller of a server's network and metadata, with zeros for parameters; the rounds bring others."""
    metadata, network = from_json(text)
    if not isinstance(metadata, ControllerMetadata):
        raise Refusal("the server's federation is one of robots, but its network is for images")
    return Controller({name: torch.zeros(shape) for name, shape in shapes.items()}, network, metadata)


def own_settings(command: Join, about: dict[str, Any]) -> ImageClientSettings | RobotSettings:
    """Return what this client computes: as the server says, with this machine's folder and threads."""
    if about["family"] == IMAGES:
        if command.data is None:
            raise Refusal("the federation is on images: name this client's folder with --data")
        known = {name: about[name] for name in ImageClientSettings.__dataclass_fields__ if name in about}
        return read_settings(ImageClientSettings, known | {"data": command.data})
    known = {name: about[name] for name in RobotSettings.__dataclass_fields__ if name in about}
    # Method and step size are in the controller that the server describes.
    known = {name: value for name, value in known.items() if name not in ("method", "step_size")}
    return read_settings(RobotSettings, known | {"threads": command.threads})


def family_name(command: Join, about: dict[str, Any]) -> str:
    """Return the robots' family; raise Refusal if that would import code on the server's word."""
    name = command.family or str(about["family"])
    if command.family is None and name not in FAMILIES:
        raise Refusal(f"the server's family is '{name}', which is none of metarl's: if you trust it, give --family")
    return name
