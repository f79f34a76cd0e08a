"""Tiny folders of images whose classes are told apart by their colour, and settings that go with them."""

from __future__ import annotations

import colorsys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from metarl.images.settings import ImageSettings


def write_images(root: Path, classes: int = 8, images: int = 5, side: int = 16, seed: int = 0) -> Path:
    """Splits train, val and test; each class has a hue of its own, each image noise and brightness of its own."""
    random = np.random.default_rng(seed)
    for offset, split in enumerate(("train", "val", "test")):
        for number in range(classes):
            folder = root / split / f"{split}{number}"
            folder.mkdir(parents=True)
            hue = (number + offset / 3) / classes
            colour = 255 * np.array(colorsys.hsv_to_rgb(hue, 1.0, 1.0))
            for image in range(images):
                pixels = colour * random.uniform(0.6, 1.0) + random.normal(0, 25, (side, side, 3))
                Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{image}.png")
    return root


def small_settings(data: Path, **overrides: Any) -> ImageSettings:
    """Two epochs of three iterations."""
    defaults = {
        "ways": 3,
        "shots": 1,
        "queries": 2,
        "side": 16,
        "epochs": 2,
        "tasks_per_epoch": 6,
        "meta_batch_size": 2,
        "validation_tasks": 3,
        "inner_steps": 2,
        "threads": 2,
    }
    return ImageSettings(data=data, **{**defaults, **overrides})
