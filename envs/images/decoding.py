"""From an image file to RGB pixels of a given side."""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from metarl.core.errors import Refusal

Pixels = NDArray[np.uint8]

# What Pillow raises on files that are damaged in one way or another.
DAMAGE = (OSError, ValueError, SyntaxError, EOFError, IndexError, struct.error, zlib.error)


class Crop(NamedTuple):
    """A part of an image in pixels, as CUB-200-2011 states where the bird is."""

    left: float
    top: float
    width: float
    height: float


def decode(path: Path, side: int, crop: Crop | None = None) -> Pixels:
    """Return the image [side, side, 3] as RGB, stretched to a square as in MAML's preparation of miniImageNet.

    The image is turned as its EXIF data say, and cut to ``crop`` first. Gray, palette and CMYK images are converted;
    what is transparent shows white. Raise ValueError if the file cannot be read, is truncated, or has too many pixels.
    """
    try:
        with Image.open(path) as image:
            image.load()
            rgb = to_rgb(upright(image))
    except Image.DecompressionBombError as error:
        raise Refusal(f"the image {path} cannot be read: {too_large(error)}") from None
    except DAMAGE as error:
        reason = (isinstance(error, OSError) and error.strerror) or "it is truncated or no image"
        raise Refusal(f"the image {path} cannot be read: {reason}") from None
    if crop is not None:
        rgb = rgb.crop(pixel_box(path, rgb.size, crop))
    if rgb.size != (side, side):
        rgb = rgb.resize((side, side), Image.Resampling.LANCZOS)
    return np.asarray(rgb)


def upright(image: Image.Image) -> Image.Image:
    """Return the image as the camera was held; one whose EXIF data are damaged stays as it is."""
    try:
        return ImageOps.exif_transpose(image)
    except DAMAGE:
        return image


def too_large(error: Image.DecompressionBombError) -> str:
    """Return why an image with too many pixels is not read; Pillow tells their number in its message alone."""
    allowed = f"at most {2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6} million pixels are allowed"
    number = re.search(r"\d{7,}", str(error))
    return (
        f"it is too large ({int(number[0]) // 10**6} million pixels): {allowed}"
        if number
        else f"it is too large: {allowed}"
    )


def pixel_box(path: Path, size: tuple[int, int], crop: Crop) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of a crop, cut to the image; raise ValueError if nothing is left."""
    left, top = max(0, round(crop.left)), max(0, round(crop.top))
    right, bottom = min(size[0], round(crop.left + crop.width)), min(size[1], round(crop.top + crop.height))
    if left >= right or top >= bottom:
        raise Refusal(f"the bounding box {tuple(crop)} lies outside the image {path} of {size[0]} x {size[1]} pixels")
    return left, top, right, bottom


def to_rgb(image: Image.Image) -> Image.Image:
    """Return the image on white with three channels of 8 bits."""
    if image.mode.startswith("I") or image.mode == "F":
        # Pillow would clip 16-bit grays at 255.
        wide = np.asarray(image, dtype=np.float64)
        return Image.fromarray(np.clip(wide / 257 + 0.5, 0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), layer).convert("RGB")
    return image.convert("RGB")
