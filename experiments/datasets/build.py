"""A data set of drawings as a folder: chosen, rendered, put in place as a whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from metarl.core.errors import Refusal
from metarl.core.threads import available_threads
from metarl.experiments.datasets import emoji, icons
from metarl.experiments.datasets.package import Drawing, Json, read_package
from metarl.experiments.datasets.rendering import blank, render_all

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Picture:
    """A rendered drawing."""

    drawing: Drawing
    png: bytes


@dataclass(frozen=True)
class Choice:
    """The drawings of a data set, before rendering."""

    drawings: list[Drawing]
    collections: Json
    least: int  # images of a class


def choose(name: str, tarball: Path | None, styles: Sequence[str], classes: int | None, side: int) -> Choice:
    """Choose the drawings of a data set.

    Args:
        name: ``emoji`` or ``icons``.
        tarball: the npm package; fetched if None.
        styles: those to take; all if empty.
        classes: how many to take, evenly spread; all if None.
        side: pixels of an image's side.

    Returns:
        The drawings. Raise ValueError if a style is unknown or the package cannot be fetched or read.
    """
    styles = tuple(dict.fromkeys(styles))
    if name == "emoji":
        check_styles(styles, emoji.STYLES)
        collections, icon_sets = read_package(tarball, emoji.STYLES)
        chosen = styles or emoji.STYLES
        drawings = list(emoji.emoji_drawings(icon_sets, chosen, side))
        least = min(emoji.LEAST_STYLES, len(chosen))
    else:
        collections, icon_sets = read_package(tarball)
        permitted = icons.permitted_sets(collections)
        check_styles(styles, permitted)
        drawings = list(icons.icon_drawings(icon_sets, styles or permitted, side))
        least = icons.LEAST_STYLES
    return Choice(spread(drawings, classes) if classes else drawings, collections, least)


def check_styles(styles: Sequence[str], known: Sequence[str]) -> None:
    """Raise ValueError for the first style that is unknown."""
    for style in styles:
        if style not in known:
            raise Refusal(f"unknown style '{style}': choose from {', '.join(known)}")


def spread(drawings: Sequence[Drawing], classes: int) -> list[Drawing]:
    """Return the drawings of ``classes`` classes, evenly spread over splits and alphabet, or raise ValueError."""
    names = sorted({(drawing.split, drawing.concept) for drawing in drawings})
    if classes > len(names):
        raise Refusal(f"--classes must be at most the {len(names)} classes that there are, got {classes}")
    kept = {names[number * len(names) // classes] for number in range(classes)}
    return [drawing for drawing in drawings if (drawing.split, drawing.concept) in kept]


def pictures(choice: Choice, side: int, progress: Progress) -> list[Picture]:
    """Render the drawings and return those that are of use.

    Blank pictures, white or visible only when animated, are left out, and pictures that equal an earlier one of their
    class pixel by pixel, since they would give the answer away. Classes with too few pictures left are dropped.
    """
    seen: set[tuple[str, str]] = {(drawing.concept, blank(side)) for drawing in choice.drawings}
    kept: list[Picture] = []
    done = 0
    with closing(render_all([drawing.svg for drawing in choice.drawings], available_threads())) as blocks:
        for block in blocks:
            for png, digest in block:
                drawing = choice.drawings[done]
                if (drawing.concept, digest) not in seen:
                    kept.append(Picture(drawing, png))
                seen.add((drawing.concept, digest))
                done += 1
            progress(done, len(choice.drawings))
    counts = Counter(picture.drawing.concept for picture in kept)
    return [picture for picture in kept if counts[picture.drawing.concept] >= choice.least]


def files(pictures: Iterable[Picture], text: str) -> Iterator[tuple[Path, bytes]]:
    """Yield the pictures as SPLIT/CLASS/STYLE.png, and the text as NOTICE."""
    yield from ((picture.drawing.path, picture.png) for picture in pictures)
    yield Path("NOTICE"), text.encode()
