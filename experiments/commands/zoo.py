"""``metarl zoo``: the controllers that ship, and any controller as a model repository of the Hugging Face Hub."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.markdown import Markdown

from metarl.experiments.analysis.model_card import model_card
from metarl.experiments.analysis.records import write_record
from metarl.experiments.console.constructors import ControllerFile, Maybe
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import check_new_file, parse
from metarl.experiments.console.sheets import printed
from metarl.experiments.zoo.listing import CAPTION, entries, zoo_sheets
from metarl.experiments.zoo.repository import check_repository, push, write_repository
from metarl.experiments.zoo.sources import sources_of


@dataclass(frozen=True)
class Zoo:
    """Show the controllers that ship with metarl, and publish controllers as model repositories.

    list: a table of all that ship: training, returns, memory.

    show: the model card of one.

    export: write one, or a controller of your own, as a folder that a model repository consists of.

    push: upload such a folder to the Hugging Face Hub with your own login.

    metarl zoo KIND --help shows the options of a kind.
    """

    kind: Annotated[Literal["list", "show", "export", "push"], tyro.conf.Positional, tyro.conf.arg(metavar="KIND")]
    """One of those above."""


@dataclass(frozen=True)
class List:
    """Show all controllers that ship with metarl."""

    json: Maybe[Path] = None
    """Write the table's numbers to this file, which must be new."""


@dataclass(frozen=True)
class Show:
    """Show a controller's model card."""

    controller: ControllerFile
    """FAMILY/METHOD of one that ships with metarl, a policy's file, or its run's folder."""


@dataclass(frozen=True)
class Export:
    """Write a controller as a model repository: its card with a header for the Hub, its file, its metadata."""

    controller: ControllerFile
    """FAMILY/METHOD of one that ships with metarl, a policy's file, or its run's folder."""
    out: Path
    """Folder to write, which must be new."""


@dataclass(frozen=True)
class Push:
    """Upload a controller to the Hugging Face Hub, with the login that `hf auth login` or HF_TOKEN gives."""

    controller: ControllerFile
    """FAMILY/METHOD of one that ships with metarl, a policy's file, or its run's folder."""
    repo: Annotated[str, tyro.conf.arg(metavar="USER/NAME")]
    """The model repository; it is made if it is not there."""
    private: bool = False
    """Let nobody else see a repository that is made."""


def main(arguments: Sequence[str]) -> None:
    """Run the command; raise Refusal saying what is wrong with its arguments."""
    kinds = {"list": list_all, "show": show, "export": export, "push": publish}
    if arguments and arguments[0] in kinds:
        kinds[arguments[0]](arguments[1:])
        return
    parse(Zoo, arguments, "metarl zoo")


def list_all(arguments: Sequence[str]) -> None:
    """Run ``metarl zoo list``."""
    command = parse(List, arguments, "metarl zoo list")
    if command.json:
        check_new_file(command.json)
    listed = entries()
    console = Terminal()
    for sheet in zoo_sheets(listed):
        console.print(printed(sheet))
    console.print(CAPTION)
    if command.json:
        write_record(command.json, {"controllers": [asdict(each) for each in listed]})


def show(arguments: Sequence[str]) -> None:
    """Run ``metarl zoo show``."""
    command = parse(Show, arguments, "metarl zoo show")
    Terminal().print(Markdown(model_card(sources_of(command.controller))))


def export(arguments: Sequence[str]) -> None:
    """Run ``metarl zoo export``."""
    command = parse(Export, arguments, "metarl zoo export")
    write_repository(sources_of(command.controller), command.out)
    Terminal().print(f"model repository: {command.out}", soft_wrap=True)


def publish(arguments: Sequence[str]) -> None:
    """Run ``metarl zoo push``."""
    command = parse(Push, arguments, "metarl zoo push")
    check_repository(command.repo)
    sources = sources_of(command.controller)
    with tempfile.TemporaryDirectory() as folder:
        write_repository(sources, Path(folder) / "model")
        address = push(Path(folder) / "model", command.repo, command.private)
    Terminal().print(f"uploaded: {address}", soft_wrap=True)
