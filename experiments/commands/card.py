"""``metarl card``: the model card of a policy, from its file, its run's logs and its filed evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from metarl.core.atomic import write_atomically
from metarl.core.errors import Refusal
from metarl.experiments.analysis.model_card import Sources, model_card
from metarl.experiments.console.constructors import ControllerFile, Maybe
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import check_new_file, parse
from metarl.experiments.paper.results import default_results
from metarl.policies.controller import Controller
from metarl.policies.files.pretrained import pretrained_files
from metarl.policies.loading import load


@dataclass(frozen=True)
class Card:
    """Write the model card of a policy: training command, seed, returns, memory, license and intended use.

    It says what the file, the run's logs and the filed evaluation record, and what they do not.
    """

    controller: ControllerFile
    """The policy's file, its run's folder, or FAMILY/METHOD of one that ships with metarl."""
    out: Maybe[Path] = None
    """Markdown file to write, which must be new; the card is printed if left out."""


def main(arguments: Sequence[str]) -> None:
    """Run the command; raise Refusal saying what is wrong with its arguments."""
    command = parse(Card, arguments, "metarl card")
    if command.out:
        check_new_file(command.out)
    controller = load(command.controller)
    if not isinstance(controller, Controller):
        raise Refusal("a card is about a policy, and this is an image network")
    card = model_card(Sources(command.controller.as_posix(), controller, folder_of(command.controller)))
    if command.out:
        write_atomically(command.out, card.encode())
    else:
        Terminal().print(card, soft_wrap=True, end="")


def folder_of(controller: Path) -> Path | None:
    """Return where a controller's logs are: its run's folder, the filed result of one that ships, None if unknown."""
    if controller.is_dir():
        return controller
    if controller.as_posix() in pretrained_files() and not controller.exists():
        return default_results() / controller
    return controller.parent if controller.is_file() else None
