"""Which image files belong to which class of which split, for the layouts that few-shot image data come in."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import TextIO

from metarl.core.errors import Refusal

SPLITS = ("train", "val", "test")
SUFFIXES = (".png", ".jpg", ".jpeg")

# The images of each class, by path relative to the data's root; classes and files are sorted by name.
Classes = dict[str, tuple[Path, ...]]

KNOWN = (
    "folders train, val and test with a folder of png or jpg files for each class; "
    "a folder images beside train.csv, val.csv and test.csv with the columns filename and label; "
    "or the folder CUB_200_2011 with images/CLASS/*.jpg and classes.txt"
)


def find_images(root: Path) -> dict[str, Classes]:
    """Return the images of every split in ``root``, which has one of three layouts:

    - ``SPLIT/CLASS/*.png|jpg``, with the splits train, val and test: one's own images, and tieredImageNet (Ren et al.,
      ICLR 2018: 351, 97 and 160 classes) as it is usually unpacked;
    - ``images/*`` and ``SPLIT.csv`` with the columns filename and label: miniImageNet with the class split of Ravi and
      Larochelle (ICLR 2017: 64, 16 and 20 classes);
    - CUB-200-2011 as it is distributed, ``images/CLASS/*.jpg`` and ``classes.txt``, split as in ``cub_split``.

    Raise ValueError if none of them fits, no image is there, or a class belongs to two splits.
    """
    if not root.is_dir():
        raise Refusal(f"there is no folder {root}")
    if not any((root / name).exists() for name in (*SPLITS, "images")) and (root / "CUB_200_2011").is_dir():
        found = {split: _below(Path("CUB_200_2011"), classes) for split, classes in _cub(root / "CUB_200_2011").items()}
    elif any((root / split).is_dir() for split in SPLITS):
        found = {split: _below(Path(split), by_folder(root / split)) for split in SPLITS if (root / split).is_dir()}
    elif any((root / f"{split}.csv").is_file() for split in SPLITS):
        found = {split: by_table(root, split) for split in SPLITS if (root / f"{split}.csv").is_file()}
    elif (root / "classes.txt").is_file() and (root / "images").is_dir():
        found = _cub(root)
    elif any(root.glob("*.pkl")):
        raise Refusal(f"{root} holds pickles, which could run foreign code and are not read: expected {KNOWN}")
    else:
        raise Refusal(f"{root} holds no few-shot images: expected {KNOWN}")
    _check(root, found)
    return found


def by_folder(folder: Path) -> Classes:
    """Return the images of each class folder, hidden folders left out; a class without images is kept, to be named."""
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    return {name: tuple(Path(name, file) for file in _image_names(folder / name)) for name in names}


def by_table(root: Path, split: str) -> Classes:
    """Return the images that ``SPLIT.csv`` names, by label; raise ValueError if a column, label or image is missing."""
    table = root / f"{split}.csv"
    present = set(_image_names(root / "images"))
    classes: dict[str, list[Path]] = {}
    # Excel writes a byte order mark and, in some countries, semicolons. Names of files need not be Unicode.
    with open(table, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        rows = csv.DictReader(file, delimiter=_delimiter(file))
        try:
            columns = rows.fieldnames or ()
            if not {"filename", "label"} <= set(columns):
                raise Refusal(
                    f"{table} must have the columns filename and label, it has {', '.join(columns) or 'none'}"
                )
            for row in rows:
                name, label = row["filename"], row["label"]
                # Some tables name the class's folder, too.
                if not (name and label) or (name not in present and not (root / "images" / name).is_file()):
                    raise Refusal(f"line {rows.line_num} of {table} names no image of {root / 'images'}: '{name}'")
                classes.setdefault(label, []).append(Path("images", name))
        except csv.Error as error:
            raise Refusal(f"{table} is no table: {error}") from None
    return {label: tuple(sorted(set(classes[label]))) for label in sorted(classes)}


def _delimiter(file: TextIO) -> str:
    """Return what parts the columns of a table: a comma unless the first line has none."""
    head = file.readline()
    file.seek(0)
    return next((delimiter for delimiter in ",;\t" if delimiter in head), ",")


def cub_split(classes: Classes) -> dict[str, Classes]:
    """Return the split of CUB-200-2011 that few-shot learning uses: 100, 50 and 50 classes.

    Of the classes in the order of their names, every second one is for training, and the others are for validation and
    for testing in turn (Chen et al., A Closer Look at Few-shot Classification, ICLR 2019).
    """
    numbered = list(enumerate(classes.items()))
    return {
        "train": dict(item for i, item in numbered if i % 2 == 0),
        "val": dict(item for i, item in numbered if i % 4 == 1),
        "test": dict(item for i, item in numbered if i % 4 == 3),
    }


def _cub(root: Path) -> dict[str, Classes]:
    if not (root / "images").is_dir():
        raise Refusal(f"there is no folder {root / 'images'}")
    return cub_split(_below(Path("images"), by_folder(root / "images")))


def _below(folder: Path, classes: Classes) -> Classes:
    return {name: tuple(folder / path for path in paths) for name, paths in classes.items()}


def _image_names(folder: Path) -> list[str]:
    """Return the names of the images in a folder, without what macOS leaves behind (``._a.jpg``)."""
    if not folder.is_dir():
        return []
    names = (entry.name for entry in os.scandir(folder))
    return sorted(name for name in names if name.lower().endswith(SUFFIXES) and not name.startswith("."))


def _check(root: Path, found: dict[str, Classes]) -> None:
    for split, classes in found.items():
        if not any(classes.values()):
            raise Refusal(f"the split {split} of {root} holds no png or jpg image in a class folder")
    for first, second, shared in _shared(found):
        raise Refusal(f"the class '{shared}' of {root} is both in {first} and in {second}: splits share no classes")


def _shared(found: dict[str, Classes]) -> Iterator[tuple[str, str, str]]:
    for first, second in combinations(found, 2):
        for name in sorted(found[first].keys() & found[second].keys()):
            yield first, second, name
