"""The decoded images of a split, in a file that is mapped into memory: drawing an episode decodes nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from metarl.core.atomic import CannotWrite, remove_stale, write_atomically
from metarl.core.errors import Refusal
from metarl.envs.images.decoding import Pixels, decode
from metarl.envs.images.layouts import Classes, find_images

FORMAT = 1
CACHE = ".metarl-cache"
# Images that are decoded ahead and wait in memory to be written.
BLOCK = 256

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ImageSet:
    """All images of a split, class after class."""

    name: str  # for messages
    pixels: Pixels  # [image, side, side, 3], read-only
    classes: tuple[str, ...]
    labels: NDArray[np.int64]  # [image], ascending numbers of classes

    @property
    def side(self) -> int:
        """The width and height of every image in pixels."""
        return int(self.pixels.shape[1])

    @property
    def counts(self) -> NDArray[np.int64]:
        """The number of images of each class [class]."""
        return np.bincount(self.labels, minlength=len(self.classes))


@dataclass(frozen=True)
class _Plan:
    """What a cache must hold; ``index`` is compared byte by byte with the one in the cache."""

    files: tuple[Path, ...]
    labels: tuple[int, ...]
    classes: tuple[str, ...]
    stem: str
    index: bytes


def load_images(
    root: Path, split: str, side: int, cache: Path | None = None, progress: Progress | None = None
) -> ImageSet:
    """Return the images of a split, decoded on the first call and mapped from a cache on later ones.

    The file ``SPLIT-SIDE-*.npy`` holds the pixels, and a ``.json`` beside it each image's file, size, time of change
    and class; the cache is built anew when these have changed or the cache is damaged.

    Args:
        root: folder of the images, in one of the layouts of ``find_images``.
        split: train, val or test.
        side: width and height that images are brought to, in pixels.
        cache: folder of the cache; if None ``root/.metarl-cache``, or the user's cache folder where that is read-only.
        progress: called as ``progress(done, total)`` while images are decoded.

    Returns:
        The images, sorted by class. Raise ValueError if the folder, an image or the cache cannot be used.
    """
    if side < 1:
        raise Refusal(f"the side of the images must be at least 1 pixel, got {side}")
    root = root.absolute()
    found = find_images(root)
    if split not in found:
        raise Refusal(f"{root} has no split '{split}': it has {' and '.join(found)}")
    plan = _plan(root, found[split], split, side)
    folders = [cache] if cache else [root / CACHE, _user_cache(root)]
    pixels = next((cached for folder in folders if (cached := _open(folder, plan, side)) is not None), None)
    if pixels is None:
        pixels = _build(folders, root, plan, f"{split}-{side}-", side, progress)
    return ImageSet(f"{root.name} ({split})", pixels, plan.classes, np.array(plan.labels, dtype=np.int64))


def _plan(root: Path, classes: Classes, split: str, side: int) -> _Plan:
    files = tuple(path for paths in classes.values() for path in paths)
    labels = tuple(number for number, paths in enumerate(classes.values()) for _ in paths)
    states = [os.stat(root / path) for path in files]
    content = {
        "format": FORMAT,
        "split": split,
        "side": side,
        "classes": list(classes),
        "images": [
            [path.as_posix(), label, state.st_size, state.st_mtime_ns]
            for path, label, state in zip(files, labels, states, strict=True)
        ],
    }
    index = json.dumps(content, indent=0).encode()
    # A name for each state of the files, so that pixels are never read with the index of another state.
    return _Plan(files, labels, tuple(classes), f"{split}-{side}-{sha256(index).hexdigest()[:16]}", index)


def _open(folder: Path, plan: _Plan, side: int) -> Pixels | None:
    """Return the pixels, None unless the folder holds them whole."""
    try:
        if (folder / f"{plan.stem}.json").read_bytes() != plan.index:
            return None
        pixels: Pixels = np.load(folder / f"{plan.stem}.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    whole = pixels.dtype == np.uint8 and pixels.shape == (len(plan.files), side, side, 3) and pixels.flags.c_contiguous
    return pixels if whole else None


def _build(folders: list[Path], root: Path, plan: _Plan, older: str, side: int, progress: Progress | None) -> Pixels:
    """Decode into the first folder that can be written and return the pixels."""
    failures = []
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # A cache is nothing for a user's version control.
            (folder / ".gitignore").write_text("*\n")
            remove_stale(folder)
            write_atomically(folder / f"{plan.stem}.npy", _npy(root, plan.files, side, progress))
            write_atomically(folder / f"{plan.stem}.json", plan.index)
            _remove_others(folder, older, plan.stem)
        except (OSError, CannotWrite) as error:
            failures.append(f"{folder} ({getattr(error, 'strerror', None) or error})")
            continue
        pixels = _open(folder, plan, side)
        if pixels is not None:
            return pixels
        failures.append(f"{folder} (it does not keep what is written)")
    raise Refusal(f"the decoded images cannot be kept in {' nor in '.join(failures)}: name another cache folder")


def _npy(root: Path, files: tuple[Path, ...], side: int, progress: Progress | None) -> Iterator[bytes]:
    """Yield the bytes of an .npy file with the images in the order of ``files``.

    They are decoded block by block on all cores: Pillow releases the interpreter's lock.
    """
    header = BytesIO()
    shape = (len(files), side, side, 3)
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    yield header.getvalue()
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(files), BLOCK):
            block = [root / path for path in files[start : start + BLOCK]]
            for pixels in pool.map(partial(decode, side=side), block):
                yield pixels.tobytes()
            if progress:
                progress(start + len(block), len(files))


def _remove_others(folder: Path, older: str, stem: str) -> None:
    """Remove the caches of earlier states of the files; a process that maps one keeps it."""
    for path in folder.glob(f"{older}*"):
        if path.stem != stem:
            path.unlink(missing_ok=True)


def _user_cache(root: Path) -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "metarl", "images", sha256(str(root).encode()).hexdigest()[:16])
