"""``metarl card``: the model card of a policy, from its file, its run's logs and its filed evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from metarl.core.atomic import write_atomically
from metarl.experiments.analysis.model_card import model_card
from metarl.experiments.console.constructors import ControllerFile, Maybe
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import check_new_file, parse
from metarl.experiments.zoo.sources import sources_of


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
    card = model_card(sources_of(command.controller))
    if command.out:
        write_atomically(command.out, card.encode())
    else:
        Terminal().print(card, soft_wrap=True, end="")
