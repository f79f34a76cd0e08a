"""``metarl table fleet``: what a fleet of robots reaches, over the filed results of each of its systems."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import tyro

from metarl.core.atomic import write_atomically
from metarl.core.errors import Refusal
from metarl.experiments.analysis import fleet_federate, fleet_nest, fleet_stream, fleet_updates
from metarl.experiments.console.constructors import Maybe
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import parse
from metarl.experiments.console.sheets import Sheet, check_page, page, printed
from metarl.experiments.paper.results import default_results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Name = Literal["nested", "updates", "stream", "federated"]


class System(NamedTuple):
    """How the results of one system are read and shown."""

    filed: Callable[[Path], Sequence[Any]]
    sheets: Callable[[Sequence[Any]], list[Sheet]]
    caption: str


SYSTEMS: dict[Name, System] = {
    "nested": System(fleet_nest.filed_records, fleet_nest.sheets, fleet_nest.CAPTION),
    "updates": System(fleet_updates.filed_simulations, fleet_updates.sheets, fleet_updates.CAPTION),
    "stream": System(fleet_stream.filed_streams, fleet_stream.sheets, fleet_stream.CAPTION),
    "federated": System(fleet_federate.filed_federations, fleet_federate.sheets, fleet_federate.CAPTION),
}


@dataclass(frozen=True)
class TableFleet:
    """Show what a fleet of robots reaches, over the results that are filed.

    nested: the subnets of one table, against separate controllers.

    updates: rounds of updates, against the bytes that were sent.

    stream: a classifier whose images arrive in rounds; it has no plot.

    federated: robots and clients that hold integers, against floats.
    """

    systems: Annotated[tuple[Name, ...], tyro.conf.arg(metavar="SYSTEM [SYSTEM ...]")] = (
        "nested",
        "updates",
        "stream",
        "federated",
    )
    """The systems to show."""
    plot: Maybe[Path] = None
    """Draw the plot of the one system that --systems names to this PNG file; an older one is replaced."""
    markdown: Maybe[Path] = None
    """Write the tables to this file; only older tables are replaced."""
    results: Maybe[Path] = None
    """Folder of the filed results; those of the repository, or those that came with metarl, if left out."""

    def __post_init__(self) -> None:
        if self.plot and len(self.systems) != 1:
            raise Refusal("a plot is of one system: name it with --systems")
        if self.plot and self.systems == ("stream",):
            raise Refusal("the system stream has no plot: take nested, updates or federated")


def main(arguments: Sequence[str]) -> None:
    """Run the command; raise Refusal saying what cannot be read or written."""
    command = parse(TableFleet, arguments, "metarl table fleet")
    results, console = command.results or default_results(), Terminal()
    if command.markdown:
        check_page(command.markdown, "fleet")
    if command.plot and not command.plot.parent.is_dir():
        raise Refusal(f"cannot write {command.plot}: there is no folder {command.plot.parent}")
    found = {name: SYSTEMS[name].filed(results) for name in command.systems}
    filed = {name: each for name, each in found.items() if each}
    if not filed:
        raise Refusal(f"no result of {', '.join(command.systems)} is filed in {results}")
    sheets = [sheet for name, each in filed.items() for sheet in SYSTEMS[name].sheets(each)]
    captions = [f"{name}: {SYSTEMS[name].caption}" for name in filed]
    if command.markdown:
        write_atomically(command.markdown, page("fleet", sheets, "\n\n".join(captions)).encode())
    if command.plot:
        from metarl.experiments.analysis import plots

        plots.write(figure(command.systems[0], filed[command.systems[0]]), command.plot)
    for sheet in sheets:
        console.print(sheet.title, style="bold")
        console.print(printed(replace(sheet, title="")))
    for caption in captions:
        console.print(caption)


def figure(system: Name, filed: Sequence[Any]) -> Figure:
    """Return the plot of one system's results."""
    from metarl.experiments.analysis import fleet_federate_plot, fleet_nest_plot, fleet_updates_plot

    figures: dict[Name, Callable[[Sequence[Any]], Figure]] = {
        "nested": fleet_nest_plot.nest_figure,
        "updates": fleet_updates_plot.update_figure,
        "federated": fleet_federate_plot.federation_figure,
    }
    return figures[system](filed)
