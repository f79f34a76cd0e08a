"""A classifier: a network for few-shot images with all it takes to run, adapt and save it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from metarl.core.errors import Refusal
from metarl.core.text import facts_as_html, facts_as_text, plural
from metarl.policies.device.images.step import device_image_step
from metarl.policies.device.meter import Meter
from metarl.policies.files.checks import check_adaptable, check_parameters
from metarl.policies.files.controller_file import write_controller
from metarl.policies.files.metadata import ClassifierMetadata
from metarl.policies.methods import get_method
from metarl.policies.networks.network import ImageNetwork, Parameters
from metarl.policies.networks.registry import kind_of


@dataclass(frozen=True, eq=False, repr=False)
class Classifier:
    """An image network, its parameters, and what it was trained for.

    ``parameters`` holds the network's own and those of the inner loop, as in a ``Controller``. Images are either
    uint8 [n, side, side, 3] as a camera gives them, or float32 [n, 3, side, side] with 0 to 255 brought to -1 to 1 by
    x / 127.5 - 1. Raise ValueError if the parts do not fit together.
    """

    parameters: Parameters
    network: ImageNetwork
    metadata: ClassifierMetadata

    def __post_init__(self) -> None:
        check_parameters(self.parameters, self.network, self.metadata.inner_steps)

    def __repr__(self) -> str:
        return facts_as_text("Classifier", self._facts())

    def _repr_html_(self) -> str:
        return facts_as_html("Classifier", self._facts())

    def _facts(self) -> dict[str, str]:
        side = self.network.side
        return {
            "network": kind_of(self.network),
            "method": self.metadata.method,
            "images": f"{side} x {side}",
            "ways": str(self.network.ways),
            "adapts to": f"{plural(self.metadata.shots, 'image')} of each class",
        }

    def predict(self, images: ArrayLike) -> NDArray[np.int64]:
        """Return the label of each image [n], from 0 to ways - 1.

        Before it is adapted, a classifier can only guess. Raise ValueError for a wrong shape or type, for no image at
        all, and for numbers outside [-1, 1] in float32 images.
        """
        with torch.no_grad():
            logits, _ = self.network(self.parameters, self._images(images))
        if not torch.isfinite(logits).all():
            raise Refusal("the network's outputs overflow: its parameters are too large")
        labels: NDArray[np.int64] = logits.argmax(dim=1).numpy()
        return labels

    def adapt(
        self, images: ArrayLike, labels: ArrayLike, images_at_once: int = 1, meter: Meter | None = None
    ) -> Classifier:
        """Take all inner steps on labeled images and return the adapted classifier; this one stays as it was.

        Args:
            images: uint8 [n, side, side, 3] or float32 [n, 3, side, side], as for ``predict``.
            labels: whole numbers [n] from 0 to ways - 1.
            images_at_once: the number of images in work at a time; they share their attention scores.
            meter: measures how many bytes the steps take.

        Returns:
            The classifier after its inner steps.

        Raises:
            ValueError: the images or labels are wrong, or this classifier cannot be adapted on a device.
        """
        if images_at_once < 1:
            raise Refusal(f"at least 1 image is in work at a time, got {images_at_once}")
        method = get_method(self.metadata.method)
        check_adaptable(self.parameters, self.network, method, on_device=True)
        checked = self._images(images)
        targets = _labels(labels, len(checked), self.network.ways)
        parameters = self.parameters
        for step in range(self.metadata.inner_steps):
            with np.errstate(over="ignore", invalid="ignore"):  # the check below says it in a sentence
                parameters = device_image_step(
                    self.network, parameters, method, step, checked.numpy(), targets, images_at_once, meter
                )
            if not all(bool(torch.isfinite(tensor).all()) for tensor in parameters.values()):
                raise Refusal("the adapted parameters are not finite: the step sizes are too large")
        return replace(self, parameters=parameters)

    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Write the classifier's file in one stroke; raise ValueError as ``Controller.save`` does."""
        write_controller(path, self.metadata, self.network, self.parameters, overwrite)

    def _images(self, images: ArrayLike) -> Tensor:
        """Return the images [image, 3, side, side] as float32, checked."""
        side = self.network.side
        shapes = {"uint8": f"[n, {side}, {side}, 3]", "float32": f"[n, 3, {side}, {side}]"}
        try:
            array = np.asarray(images)
        except ValueError:
            raise Refusal(f"the images must be an array {shapes['uint8']} or {shapes['float32']}") from None
        if array.dtype != np.uint8 and array.dtype.kind != "f":
            wanted = " or ".join(f"{dtype} {shape}" for dtype, shape in shapes.items())
            raise Refusal(f"the images must be {wanted}, got {array.dtype}")
        expected = (side, side, 3) if array.dtype == np.uint8 else (3, side, side)
        if array.shape[1:] != expected or array.ndim != 4:
            dtype = "uint8" if array.dtype == np.uint8 else "float32"
            raise Refusal(f"images of {dtype} must have the shape {shapes[dtype]}, got {list(array.shape)}")
        if not len(array):
            raise Refusal("there is no image: give at least one")
        return torch.from_numpy(_normalized(array) if array.dtype == np.uint8 else _checked(array))


def _normalized(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Bring pixels to x / 127.5 - 1, channels first, as in meta-training."""
    scaled = np.ascontiguousarray(np.moveaxis(pixels, -1, 1), np.float32)
    scaled /= np.float32(127.5)
    scaled -= np.float32(1)
    return scaled


def _checked(images: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return normalized images as float32; raise ValueError if they have another scale, warn if it looks like one."""
    low, high = float(images.min()), float(images.max())
    if not -np.inf < low <= high < np.inf:
        raise Refusal("the images hold a NaN or an infinite number")
    if not -1 <= low <= high <= 1:
        raise Refusal(
            f"float images must lie in [-1, 1], got numbers from {low:g} to {high:g}: give uint8 images, which are "
            "brought to that scale by themselves, or scale yours by x / 127.5 - 1"
        )
    if low >= 0:
        warnings.warn(
            f"float images are taken to lie in [-1, 1], and these lie in [{low:g}, {high:g}]: scale images from 0 to 1 "
            "by 2 x - 1, or give uint8 images",
            stacklevel=4,
        )
    return np.require(images, np.float32, ["C", "W"])  # no copy if it is all that already


def _labels(labels: ArrayLike, images: int, ways: int) -> NDArray[np.int64]:
    """Return the labels [image], checked."""
    try:
        array = np.asarray(labels)
    except ValueError:
        raise Refusal(f"the labels must be an array of {images} whole numbers") from None
    if array.dtype.kind not in "iu":
        raise Refusal(f"the labels must be whole numbers, got {array.dtype}")
    if array.shape != (images,):
        raise Refusal(f"the labels must have the shape [{images}], one for each image, got {list(array.shape)}")
    if array.min() < 0 or array.max() >= ways:
        wrong = array.min() if array.min() < 0 else array.max()
        raise Refusal(f"the labels must be from 0 to {ways - 1} for {ways} classes, got {wrong}")
    return array.astype(np.int64)
