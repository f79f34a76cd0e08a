"""``metarl check``: test a task family of your own before you train on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from metarl.core.errors import Refusal
from metarl.core.text import plural
from metarl.experiments.analysis.family_checks import check_family
from metarl.experiments.console.constructors import FieldWords, Maybe
from metarl.experiments.console.families import family_by_name
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import parse, require_at_least


@dataclass(frozen=True)
class Check:
    """Test a task family on random episodes: spaces, seeds, fields that change nothing, speed, and more."""

    family: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FAMILY")]
    """Task family: module:attribute, gym:ID with --field, or one of metarl's."""
    fields: FieldWords = ()
    """Numbers of the environment gym:ID that make a task, NAME=LOW:HIGH or NAME=VALUE/VALUE; e.g. g=5:15."""
    steps: Maybe[int] = None
    """Steps of an episode; up to the horizon if left out."""

    def __post_init__(self) -> None:
        require_at_least(1, steps=self.steps)


def main(arguments: Sequence[str]) -> None:
    """Run the command; Refusal says how many checks have found something wrong."""
    command = parse(Check, arguments, "metarl check")
    family = family_by_name(command.family, command.fields)
    terminal, verdicts = Terminal(), Counter[str]()
    for finding in check_family(family, command.steps):
        verdicts[finding.verdict] += 1
        terminal.print(f"{finding.verdict:6}{finding.sentence}", soft_wrap=True)
    if verdicts["wrong"]:
        raise Refusal(
            f"{family.name}: {verdicts['wrong']} of {plural(verdicts.total(), 'check')} found something wrong"
        )
    hints = f", with {plural(verdicts['hint'], 'hint')}" if verdicts["hint"] else ""
    terminal.print(f"{family.name} can be trained on{hints}.", soft_wrap=True)
