"""``metarl data``: build a few-shot image data set from drawings, npz archives or CUB-200-2011."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.table import Table

from metarl.core.errors import Refusal
from metarl.envs.images.layouts import SPLITS
from metarl.experiments.console.constructors import Maybe
from metarl.experiments.console.interrupts import interruptible
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import parse, require_at_least
from metarl.experiments.datasets import cub, npz
from metarl.experiments.datasets.build import choose, files, pictures
from metarl.experiments.datasets.folder import check_new_folder, write_folder
from metarl.experiments.datasets.notice import notice
from metarl.experiments.datasets.package import PACKAGE
from metarl.runs.progress import live_progress


@dataclass(frozen=True)
class Data:
    """Build a few-shot image data set from drawings of the npm package @iconify/json.

    emoji: emoji by ten styles, split by category into train, val and test.

    icons: concepts by many icon sets, all for testing.

    Accuracies on drawings do not compare with those on photographs.

    metarl data npz --help shows how to convert npz archives.

    metarl data cub --help shows how to convert CUB-200-2011.
    """

    name: Annotated[Literal["emoji", "icons"], tyro.conf.Positional]
    """Which data set."""
    out: Path
    """Folder to write, which must be new; its parents are made."""
    tarball: Maybe[Path] = None
    """The package's file, from npm pack @iconify/json@2.2.535; npm, which must be installed, fetches it if left out."""
    side: int = 84
    """Pixels of an image's side."""
    styles: Annotated[tuple[str, ...], tyro.conf.arg(metavar="STYLE [STYLE ...]", help_behavior_hint="")] = ()
    """Styles to take; all if left out. With fewer than eight, a class of emoji is one that all of them draw."""
    classes: Maybe[int] = None
    """Take this many classes, evenly spread; all if left out."""

    def __post_init__(self) -> None:
        require_at_least(8, side=self.side)
        if self.classes is not None:
            require_at_least(1, classes=self.classes)


@dataclass(frozen=True)
class DataNpz:
    """Turn npz archives of few-shot images into a folder for metarl train images.

    An archive of one split has arrays images and labels, and the split in its name.

    One of several splits has arrays such as train_images and train_labels.

    Pickles are not read.
    """

    archives: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="ARCHIVE [ARCHIVE ...]", help_behavior_hint="(required)"),
    ]
    """The archives."""
    out: Path
    """Folder to write, which must be new."""


@dataclass(frozen=True)
class DataCub:
    """Cut the images of CUB-200-2011 to its bounding boxes, for metarl train images."""

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """CUB-200-2011 as it is distributed."""
    out: Path
    """Folder to write, which must be new."""
    side: int = 84
    """Pixels of an image's side."""

    def __post_init__(self) -> None:
        require_at_least(8, side=self.side)


def main(arguments: Sequence[str]) -> None:
    """Run the command; raise Refusal saying what is wrong with its arguments, the package or the machine."""
    if arguments[:1] == ["npz"]:
        archives = parse(DataNpz, arguments[1:], "metarl data npz")
        convert(archives.out, lambda: chain.from_iterable(map(npz.files, npz.parts(archives.archives))))
    elif arguments[:1] == ["cub"]:
        birds = parse(DataCub, arguments[1:], "metarl data cub")
        convert(birds.out, lambda: cub.files(birds.source, birds.side))
    else:
        draw(parse(Data, arguments, "metarl data"))


def convert(out: Path, files: Callable[[], Iterable[tuple[Path, bytes]]]) -> None:
    """Write the files of a data set to a new folder and tell what is in it."""
    check_new_folder(out)
    written: list[Path] = []
    with interruptible() as check:

        def noted() -> Iterator[tuple[Path, bytes]]:
            for path, content in files():
                check()
                written.append(path)
                yield path, content

        write_folder(out, noted())
    console = Terminal()
    console.print(counts_table(written))
    console.print(f"Written: {out}", soft_wrap=True)


def draw(command: Data) -> None:
    """Render drawings into a new folder and tell what is in it."""
    check_new_folder(command.out)
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
        write_folder(command.out, files(made, notice(drawings, choice.collections, command.side)))
    console.print(counts_table([drawing.path for drawing in drawings]))
    console.print(
        f"Written: {command.out}; whose drawings they are, and their licenses: {command.out}/NOTICE", soft_wrap=True
    )


def counts_table(images: Sequence[Path]) -> Table:
    """Return a table of the classes and images of each split, from paths SPLIT/CLASS/NAME."""
    by_class: dict[str, Counter[str]] = defaultdict(Counter)
    for path in images:
        split, name, _ = path.parts
        by_class[split][name] += 1
    table = Table("split", "classes", "images", "images a class")
    for split in sorted(by_class, key=SPLITS.index):
        counts = by_class[split].values()
        table.add_row(split, str(len(counts)), str(sum(counts)), spread(min(counts), max(counts)))
    return table


def spread(least: int, most: int) -> str:
    """Return ``8 to 10``, or ``5``."""
    return str(least) if least == most else f"{least} to {most}"
