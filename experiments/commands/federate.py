"""``metarl federate``: meta-train on clients that hold integers, in this process or over gRPC."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from metarl.core.errors import Refusal
from metarl.experiments.analysis.fleet_federate import federation_record
from metarl.experiments.analysis.records import write_record
from metarl.experiments.commands.federate_join import join
from metarl.experiments.console.constructors import FieldWords, Maybe
from metarl.experiments.console.families import family_by_name, first_word, word_after
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import check_new_file, parse
from metarl.experiments.console.progress import decoding_line, number
from metarl.fleet.federated.images import ImageClientSettings
from metarl.fleet.federated.robots import RobotSettings
from metarl.fleet.federated.rounds import Carrier, Population, agreed_layout, federate
from metarl.fleet.federated.run import IMAGES, population_of, suited
from metarl.fleet.federated.server import Row
from metarl.fleet.federated.settings import FederationSettings
from metarl.policies.controller import Controller
from metarl.policies.files.controller_file import to_json
from metarl.policies.loading import load
from metarl.runs.folder import CONTROLLER

DESCRIPTION = (
    "Train on the data of many clients that hold integers in place of float weights, and return gradients (FedAQT).\n\n"
    "metarl federate FAMILY: clients are robots, each with its own task, that adapt and return a meta-gradient.\n\n"
    "metarl federate images --help: clients hold images of a folder's classes.\n\n"
    "metarl federate join --help: be one client of a server that runs with --serve.\n\n"
    "The same command goes on after an interruption."
)


@dataclass(frozen=True)
class Federation:
    """Where the outcome goes, and how clients are reached."""

    out: Path
    """Folder to write, which must be new or hold the beginning of the same federation."""
    init: Maybe[Path] = None
    """What the server starts with: a controller's file, its run's folder, or FAMILY/METHOD of one that ships with
    metarl. If left out, random parameters of a policy, or an image network trained on the server's own images."""
    json: Maybe[Path] = None
    """Write what was reached, the bytes of the messages and a client's memory to this file, which must be new."""
    serve: Maybe[str] = None
    """Wait for clients at HOST:PORT, e.g. 127.0.0.1:8765, in place of computing all of them here."""
    timeout: float = 60.0
    """Seconds that a server waits for the answers of a round."""
    join_timeout: float = 600.0
    """Seconds that a server waits for all clients before it begins without those that are missing."""

    def __post_init__(self) -> None:
        for name in ("timeout", "join_timeout"):
            if not getattr(self, name) > 0:
                raise Refusal(f"--{name.replace('_', '-')} must be above 0, got {getattr(self, name):g}")


@dataclass(frozen=True)
class Federate:
    """Federated rounds of robots."""

    family: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FAMILY")]
    """Task family of the robots, the first word; or images, or join."""
    federation: Annotated[Federation, tyro.conf.OmitArgPrefixes]
    settings: Annotated[FederationSettings, tyro.conf.OmitArgPrefixes]
    own: Annotated[RobotSettings, tyro.conf.OmitArgPrefixes] = field(default_factory=RobotSettings)
    fields: FieldWords = ()
    """Numbers of the environment gym:ID that make a task, NAME=LOW:HIGH or NAME=VALUE/VALUE; e.g. g=5:15."""


@dataclass(frozen=True)
class FederateImages:
    """Federated rounds of clients that hold images."""

    federation: Annotated[Federation, tyro.conf.OmitArgPrefixes]
    settings: Annotated[FederationSettings, tyro.conf.OmitArgPrefixes]
    own: Annotated[ImageClientSettings, tyro.conf.OmitArgPrefixes]


def main(arguments: Sequence[str]) -> None:
    """Run the command; raise Refusal saying what is wrong with its arguments."""
    if arguments[:1] == ["join"]:
        join(arguments[1:])
        return
    family = first_word(arguments, "metarl federate")
    settings = FederationSettings(**suited(family, word_after("--mode", arguments) or ""))
    federation: Any = Federation(out=Path())
    object.__setattr__(federation, "out", tyro.MISSING)
    command: Federate | FederateImages
    if family == IMAGES:
        own = ImageClientSettings(data=Path())
        object.__setattr__(own, "data", tyro.MISSING)
        default = FederateImages(federation, settings, own)
        command = parse(FederateImages, arguments[1:], "metarl federate images", default)
    else:
        command = parse(
            Federate, arguments, "metarl federate", Federate(tyro.MISSING, federation, settings), DESCRIPTION
        )
    run(command, shlex.join(["metarl", "federate", *arguments]))


def run(command: Federate | FederateImages, words: str) -> None:
    """Run the rounds, and tell what they led to; ``words`` is the command line for the record."""
    console, federation, settings = Terminal(), command.federation, command.settings
    if federation.json:
        check_new_file(federation.json)
    family = family_by_name(command.family, command.fields) if isinstance(command, Federate) else None
    init = None if federation.init is None else load(federation.init)
    with (
        population_of(family, settings, command.own, init, decoding_line(console)) as population,
        carried(federation, population, settings, console) as carrier,
    ):
        outcome = federate(
            population, settings, federation.out, carrier, lambda row: tell_round(row, settings, console)
        )
        controller = federation.out / CONTROLLER
        console.print(f"as clients hold it: {number(outcome.score.mean)} ± {number(outcome.score.ci95)} (95 %)")
        console.print(f"controller: {controller}", soft_wrap=True)
        if federation.json:
            write_record(federation.json, federation_record(words, population, settings, outcome))
            console.print(f"record: {federation.json}", soft_wrap=True)


def tell_round(row: Row, settings: FederationSettings, console: Console) -> None:
    """Print a line of each round that was evaluated."""
    if row["score"] == row["score"]:
        dropped = row["asked"] - row["answers"]
        console.print(
            f"round {row['round']:.0f} of {settings.rounds}: {number(row['score'])}  "
            f"{row['bytes_down']:,.0f} bytes down, {row['bytes_up']:,.0f} up"
            + (f"  {dropped:.0f} of {row['asked']:.0f} clients dropped" if dropped else ""),
            soft_wrap=True,
        )


@contextmanager
def carried(
    federation: Federation, population: Population, settings: FederationSettings, console: Console
) -> Iterator[Carrier | None]:
    """Serve clients if that is asked for, and yield what brings messages to them; None to compute them here."""
    if federation.serve is None:
        yield None
        return
    from metarl.fleet.federated.serving import Post, serving, welcome

    layout = agreed_layout(population, population.start(), settings)
    begun = getattr(population, "begun", None)
    described = to_json(begun.metadata, begun.network) if isinstance(begun, Controller) else None
    post = Post(welcome(asdict(settings), population.about(), described, layout), settings.clients)
    with serving(federation.serve, post) as address:
        console.print(f"serving {settings.clients} clients at {address}", soft_wrap=True)
        there = post.wait_for_clients(federation.join_timeout)
        console.print(f"{there} of {settings.clients} clients have joined", soft_wrap=True)
        yield lambda message, asked: post.carry(message, asked, federation.timeout)
