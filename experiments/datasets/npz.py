"""Few-shot images in NumPy archives, as other projects distribute them: arrays of images and labels, no pickles."""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from metarl.core.errors import Refusal
from metarl.envs.images.layouts import SPLITS
from metarl.experiments.datasets.folder import png

IMAGES, LABELS = ("images", "image_data", "data", "x"), ("labels", "targets", "y")
WORDS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
DAMAGE = (OSError, ValueError, EOFError, zipfile.BadZipFile, NotImplementedError)


@dataclass(frozen=True)
class Part:
    """One split of an archive and the names of its arrays."""

    archive: Path
    split: str
    images: str
    labels: str


def parts(archives: Sequence[Path]) -> list[Part]:
    """Return the splits that the archives hold, in their order.

    An archive has one split, arrays named images and labels and the split in its own name, or several, with arrays
    such as train_images and train_labels. Raise Refusal if none is there or a split occurs twice.
    """
    found = [part for archive in archives for part in _parts(archive)]
    for split, count in Counter(part.split for part in found).items():
        if count > 1:
            raise Refusal(f"the split {split} is in the archives {count} times")
    return sorted(found, key=lambda part: SPLITS.index(part.split))


def files(part: Part) -> Iterator[tuple[Path, bytes]]:
    """Yield the images of a split as PNG files SPLIT/CLASS/NUMBER.png; raise Refusal if they cannot be read."""
    labels = class_names(part)
    numbers: Counter[str] = Counter()
    with zipfile.ZipFile(part.archive) as archive, archive.open(f"{part.images}.npy") as file:
        shape, dtype = header(part, part.images, file)
        to_rgb = layout(part, shape, dtype)
        if shape[0] != len(labels):
            raise Refusal(f"{part.archive} has {shape[0]} images in {part.images} and {len(labels)} labels")
        size = int(np.prod(shape[1:]))
        for label in labels:
            row = file.read(size)
            if len(row) < size:
                raise Refusal(f"{part.archive} is truncated")
            yield Path(part.split, label, f"{numbers[label]:05}.png"), png(to_rgb(np.frombuffer(row, np.uint8)))
            numbers[label] += 1


def class_names(part: Part) -> list[str]:
    """Return the class of each image as a folder's name.

    Numbers get the split's name before them, because each split may count its classes from 0.
    """
    labels = array(part, part.labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iuUS":
        raise Refusal(f"{part.labels} of {part.archive} must be one number or text per image, got {_told(labels)}")
    if labels.dtype.kind in "iu":
        width = len(str(labels.max(initial=0)))
        return [f"{part.split}-{label:0{width}}" for label in labels.tolist()]
    texts = [label.decode("utf-8", "replace") if isinstance(label, bytes) else label for label in labels.tolist()]
    return [re.sub(r"^[.]+|[/\\\0]", "-", text) or "-" for text in texts]


def layout(part: Part, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """Return the function that makes RGB pixels [height, width, 3] of the bytes of one image."""
    channels_first = len(shape) == 4 and shape[-1] not in (1, 3)
    channels = 1 if len(shape) == 3 else shape[1 if channels_first else 3] if len(shape) == 4 else 0
    if dtype != np.uint8 or channels not in (1, 3):
        raise Refusal(
            f"{part.images} of {part.archive} must be bytes [image, height, width, 3], or gray or with channels first, "
            f"got {dtype} {list(shape)}"
        )

    def to_rgb(row: NDArray[np.uint8]) -> NDArray[np.uint8]:
        image = row.reshape(shape[1:] if len(shape) == 4 else (*shape[1:], 1))
        image = np.moveaxis(image, 0, -1) if channels_first else image
        return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))

    return to_rgb


def array(part: Part, name: str) -> NDArray[Any]:
    """Return a whole array of the archive; raise Refusal if it holds pickled objects or is damaged."""
    try:
        with np.load(part.archive, allow_pickle=False) as archive:
            loaded: NDArray[Any] = archive[name]
    except DAMAGE as error:
        raise Refusal(f"{name} of {part.archive} cannot be read: {error}") from None
    return loaded


def header(part: Part, name: str, file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Read the header of an .npy file, up to its first number; raise Refusal if the numbers are not in C order."""
    try:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran_order, dtype = read(file)
    except DAMAGE as error:
        raise Refusal(f"{name} of {part.archive} cannot be read: {error}") from None
    if fortran_order and len(shape) > 1:
        raise Refusal(f"{name} of {part.archive} is stored column by column: save it with numpy.ascontiguousarray")
    return shape, dtype


def _parts(archive: Path) -> Iterator[Part]:
    try:
        with zipfile.ZipFile(archive) as opened:
            names = {name.removesuffix(".npy").lower(): name.removesuffix(".npy") for name in opened.namelist()}
    except DAMAGE as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is no npz archive"
        raise Refusal(f"cannot read {archive}: {reason}") from None
    own = next((WORDS[word] for word in re.split(r"[^a-z]+", archive.stem.lower()) if word in WORDS), None)
    some = False
    for prefix, split in {"": own, **{f"{word}_": split for word, split in WORDS.items()}}.items():
        images = next((names[prefix + word] for word in IMAGES if prefix + word in names), None)
        labels = next((names[prefix + word] for word in LABELS if prefix + word in names), None)
        if images is None or labels is None:
            continue
        if split is None:
            raise Refusal(f"the name of {archive} must tell its split: train, val or test")
        some = True
        yield Part(archive, split, images, labels)
    if not some:
        raise Refusal(
            f"{archive} holds the arrays {', '.join(names.values()) or 'none'}: expected images and labels, or "
            "train_images and train_labels"
        )


def _told(labels: NDArray[Any]) -> str:
    return f"{labels.dtype} {list(labels.shape)}"
