"""``metarl table families``: the task families, their fields and spaces, and what short trainings on them gained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from metarl.core.atomic import write_atomically
from metarl.experiments.analysis import family_trainings
from metarl.experiments.analysis.family_table import CAPTION, families_sheet
from metarl.experiments.console.constructors import Maybe
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import parse
from metarl.experiments.console.sheets import check_page, page
from metarl.experiments.paper.results import default_results


@dataclass(frozen=True)
class TableFamilies:
    """Show every task family: what is learned, what tells its tasks apart, its spaces, and what training gains."""

    markdown: Maybe[Path] = None
    """Write the table to this file; only an older table is replaced."""
    results: Maybe[Path] = None
    """Folder of the filed results; those of the repository, or those that came with metarl, if left out."""


def main(arguments: Sequence[str]) -> None:
    """Run the command; raise Refusal if the page cannot be written."""
    command = parse(TableFamilies, arguments, "metarl table families")
    if command.markdown:
        check_page(command.markdown, "families")
    sheet = families_sheet()
    filed = family_trainings.filed_trainings((command.results or default_results()) / "families")
    trainings = family_trainings.trainings_sheet(filed)
    told = {each.family: family_trainings.told(each) for each in filed}
    if command.markdown:
        caption = f"{CAPTION}\n\n{family_trainings.CAPTION}"
        write_atomically(command.markdown, page("families", [sheet, trainings], caption).encode())
    console = Terminal()
    for name, what, fields, observations, actions, limit, horizon in sheet.rows:
        console.print(name.strip("`"), style="bold")
        console.print(f"  {what}\n  {fields.replace('`', '')}")
        console.print(f"  {observations} observations, {actions} actions of at most {limit}, {horizon} steps")
        if name.strip("`") in told:
            console.print(f"  {told[name.strip('`')]}")
