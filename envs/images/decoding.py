"""From an image file to RGB pixels of a given side."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from metarl.core.errors import Refusal

Pixels = NDArray[np.uint8]

# What Pillow raises on files that are damaged in one way or another.
DAMAGE = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    IndexError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def decode(path: Path, side: int) -> Pixels:
    """The image [side, side, 3] as RGB, stretched to a square as in MAML's preparation of miniImageNet.

    Greyscale, palette and CMYK images are converted; what is transparent shows white. ValueError names an unreadable
    or truncated file.
    """
    try:
        with Image.open(path) as image:
            image.load()
            rgb = to_rgb(image)
    except DAMAGE as error:
        reason = (isinstance(error, OSError) and error.strerror) or "it is truncated or no image"
        raise Refusal(f"the image {path} cannot be read: {reason}") from None
    if rgb.size != (side, side):
        rgb = rgb.resize((side, side), Image.Resampling.LANCZOS)
    return np.asarray(rgb)


def to_rgb(image: Image.Image) -> Image.Image:
    """The image on white, three channels of 8 bits."""
    if image.mode.startswith("I") or image.mode == "F":
        # Pillow would clip 16-bit greys at 255.
        wide = np.asarray(image, dtype=np.float64)
        return Image.fromarray(np.clip(wide / 257 + 0.5, 0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), layer).convert("RGB")
    return image.convert("RGB")
