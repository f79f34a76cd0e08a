"""``metarl table families``: the task families, their fields and their spaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from metarl.core.atomic import write_atomically
from metarl.experiments.analysis.family_table import CAPTION, families_sheet
from metarl.experiments.console.constructors import Maybe
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import parse
from metarl.experiments.console.sheets import check_page, page


@dataclass(frozen=True)
class TableFamilies:
    """Show every task family: what is learned, what tells its tasks apart, and the sizes of its spaces."""

    markdown: Maybe[Path] = None
    """Write the table to this file; only an older table is replaced."""


def main(arguments: Sequence[str]) -> None:
    """Run the command; raise Refusal if the page cannot be written."""
    command = parse(TableFamilies, arguments, "metarl table families")
    if command.markdown:
        check_page(command.markdown, "families")
    sheet = families_sheet()
    if command.markdown:
        write_atomically(command.markdown, page("families", [sheet], CAPTION).encode())
    console = Terminal()
    for name, what, fields, observations, actions, limit, horizon in sheet.rows:
        console.print(name.strip("`"), style="bold")
        console.print(f"  {what}\n  {fields.replace('`', '')}")
        console.print(f"  {observations} observations, {actions} actions of at most {limit}, {horizon} steps")
