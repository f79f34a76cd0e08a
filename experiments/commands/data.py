"""``metarl data``: builds a few-shot image data set from drawings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.table import Table

from metarl.core.errors import Refusal
from metarl.experiments.console.interrupts import interruptible
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import check_new_file, parse, require_at_least
from metarl.experiments.console.progress import live_progress
from metarl.experiments.datasets.build import choose, pictures, write
from metarl.experiments.datasets.notice import notice
from metarl.experiments.datasets.package import PACKAGE, Drawing


@dataclass(frozen=True)
class DataCommand:
    """Build a few-shot image data set from the drawings of the npm package @iconify/json.

    emoji: the same emoji by ten styles, split by category into train, val and test. icons: concepts by many icon sets,
    all for testing. Both are drawings: accuracies on them do not compare with those on photographs.
    """

    name: Annotated[Literal["emoji", "icons"], tyro.conf.Positional]
    """Which data set."""
    out: Path
    """Folder to write, which must be new."""
    tarball: Path | None = None
    """The package's tarball; fetched with npm if left out."""
    side: int = 84
    """Pixels of an image's side."""
    styles: tuple[str, ...] = ()
    """Styles to take; all if left out. With fewer than eight, a class of emoji is one that all of them draw."""
    classes: int | None = None
    """Take this many classes, evenly spread; all if left out."""

    def __post_init__(self) -> None:
        require_at_least(8, side=self.side)
        if self.classes is not None:
            require_at_least(1, classes=self.classes)


def main(arguments: Sequence[str]) -> None:
    """Runs the command; ValueError says what is wrong with its arguments, the package or the machine."""
    command = parse(DataCommand, arguments, "metarl data")
    check_new_file(command.out)
    console = Terminal()
    with interruptible() as check:
        console.print(f"Reading {command.tarball or PACKAGE + ', fetched by npm'}", soft_wrap=True)
        choice = choose(command.name, command.tarball, command.styles, command.classes, command.side)
        if not choice.drawings:
            raise Refusal(f"no class of {command.name} has {choice.least} drawings by the styles chosen")
        with live_progress(console, len(choice.drawings), "images") as show:

            def progress(done: int, total: int) -> None:
                check()
                show(done, "")

            try:
                made = pictures(choice, command.side, progress)
            except ChildProcessError:
                # A signal to all processes is an interruption.
                check()
                raise
        check()
        drawings = [picture.drawing for picture in made]
        write(made, command.out, notice(drawings, choice.collections, command.side))
    console.print(counts_table(drawings))
    console.print(
        f"Written: {command.out}; whose drawings they are, and their licenses: {command.out}/NOTICE", soft_wrap=True
    )


def counts_table(drawings: Sequence[Drawing]) -> Table:
    """Classes and images of each split."""
    by_class: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for drawing in drawings:
        by_class[drawing.split][drawing.concept] += 1
    table = Table("split", "classes", "images", "images a class")
    for split in sorted(by_class, key=["train", "val", "test"].index):
        counts = by_class[split].values()
        table.add_row(split, str(len(counts)), str(sum(counts)), spread(min(counts), max(counts)))
    return table


def spread(least: int, most: int) -> str:
    """``8 to 10``, or ``5``."""
    return str(least) if least == most else f"{least} to {most}"
