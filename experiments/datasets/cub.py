"""CUB-200-2011 cut to the birds: its bounding boxes, and the images inside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from metarl.core.errors import Refusal
from metarl.envs.images.decoding import Crop, decode
from metarl.envs.images.layouts import Classes, find_images
from metarl.experiments.datasets.folder import png

IMAGES, BOXES = "images.txt", "bounding_boxes.txt"


def files(source: Path, side: int) -> Iterator[tuple[Path, bytes]]:
    """Yield the birds of a CUB-200-2011 folder as PNG files SPLIT/CLASS/NAME.png of ``side`` x ``side`` pixels.

    Raise Refusal if an image or its bounding box is missing.
    """
    root = source / "CUB_200_2011" if (source / "CUB_200_2011").is_dir() else source
    found, boxes = splits(root), bounding_boxes(root)
    for split, classes in found.items():
        for name, paths in classes.items():
            for path in paths:
                box = boxes.get(path.relative_to("images").as_posix())
                if box is None:
                    raise Refusal(f"{root / BOXES} states no bounding box of {path}")
                yield Path(split, name, f"{path.stem}.png"), png(decode(root / path, side, box))


def splits(root: Path) -> dict[str, Classes]:
    """Return the images of each split by class; raise Refusal unless the folder is CUB-200-2011 with its boxes."""
    for name in (IMAGES, BOXES, "classes.txt"):
        if not (root / name).is_file():
            raise Refusal(f"{root} is not CUB-200-2011 as it is distributed: there is no {name}")
    return find_images(root)


def bounding_boxes(root: Path) -> dict[str, Crop]:
    """Return the bounding box of each image by its path below images/."""
    try:
        paths = dict(line.split() for line in _lines(root / IMAGES))
        return {paths[number]: Crop(*map(float, box)) for number, *box in map(str.split, _lines(root / BOXES))}
    except (ValueError, TypeError, KeyError):
        raise Refusal(
            f"{root / IMAGES} must have lines NUMBER PATH, and {root / BOXES} lines NUMBER LEFT TOP WIDTH HEIGHT"
        ) from None


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise Refusal(f"cannot read {path}: {error.strerror}") from None
