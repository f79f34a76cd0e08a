"""A data set as a new folder that appears at once or not at all."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from metarl.core.errors import Refusal


def check_new_folder(out: Path) -> None:
    """Raise Refusal if something is there already, or if no folder can be made there."""
    if out.exists():
        raise Refusal(f"{out} exists already and is not overwritten: choose another name")
    above = next(folder for folder in out.absolute().parents if folder.exists())
    if not above.is_dir():
        raise Refusal(f"cannot write {out}: {above} is no folder")
    if not os.access(above, os.W_OK):
        raise Refusal(f"cannot write {out}: the folder {above} is not writable")


def write_folder(out: Path, files: Iterable[tuple[Path, bytes]]) -> None:
    """Write files, by their paths inside it, to the new folder ``out``; parent folders are made."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise Refusal(f"cannot write {out}: {error.strerror or error}") from None
    try:
        for name, content in files:
            try:
                (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                (temporary / name).write_bytes(content)
            except OSError as error:
                raise Refusal(f"cannot write {out}: {error.strerror or error}") from None
        try:
            temporary.chmod(0o755)
            temporary.rename(out)
        except OSError as error:
            raise Refusal(f"cannot write {out}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Return pixels [height, width, 3] as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
