"""``metarl table fleet``: what a fleet of robots reaches, over the filed results of each of its systems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from metarl.core.atomic import write_atomically
from metarl.core.errors import Refusal
from metarl.experiments.analysis import fleet_updates
from metarl.experiments.console.constructors import Maybe
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import parse
from metarl.experiments.console.sheets import check_page, page, printed
from metarl.experiments.paper.results import default_results


@dataclass(frozen=True)
class TableFleet:
    """Show what robots reach after rounds of updates, and the bytes that were sent, over the results that are filed."""

    plot: Maybe[Path] = None
    """Draw the return against the bytes to this PNG file; an older one is replaced."""
    markdown: Maybe[Path] = None
    """Write the table to this file; only an older table is replaced."""
    results: Maybe[Path] = None
    """Folder of the filed results; those of the repository, or those that came with metarl, if left out."""


def main(arguments: Sequence[str]) -> None:
    """Run the command; raise Refusal saying what cannot be read or written."""
    command = parse(TableFleet, arguments, "metarl table fleet")
    results, console = command.results or default_results(), Terminal()
    if command.markdown:
        check_page(command.markdown, "fleet")
    if command.plot and not command.plot.parent.is_dir():
        raise Refusal(f"cannot write {command.plot}: there is no folder {command.plot.parent}")
    simulations = fleet_updates.filed_simulations(results)
    if not simulations:
        raise Refusal(f"no result of a fleet is filed in {results}")
    sheets, captions = fleet_updates.sheets(simulations), fleet_updates.CAPTION
    if command.markdown:
        write_atomically(command.markdown, page("fleet", sheets, captions).encode())
    if command.plot:
        from metarl.experiments.analysis import fleet_updates_plot, plots

        plots.write(fleet_updates_plot.update_figure(simulations), command.plot)
    for sheet in sheets:
        console.print(sheet.title, style="bold")
        console.print(printed(replace(sheet, title="")))
    console.print(captions)
