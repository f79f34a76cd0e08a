"""A classifier: a network for few-shot images with all it takes to run and adapt it, and its file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from metarl.policies.device.images.step import device_image_step
from metarl.policies.device.meter import Meter
from metarl.policies.files.checks import check_adaptable, check_parameters
from metarl.policies.files.classifier_metadata import ClassifierMetadata, to_json
from metarl.policies.files.controller_format import KIND, place_for
from metarl.policies.files.tensor_file import write_tensors
from metarl.policies.methods import get_method
from metarl.policies.networks.network import ImageNetwork, Parameters


@dataclass(frozen=True, eq=False)
class Classifier:
    """An image network, its parameters, and what it was trained for.

    ``parameters`` holds the network's own and those of the inner loop, as in a ``Controller``. Images are either
    uint8 [n, side, side, 3] as a camera gives them, or float32 [n, 3, side, side] with 0 to 255 brought to -1 to 1 by
    x / 127.5 - 1. ValueError says what does not fit together.
    """

    parameters: Parameters
    network: ImageNetwork
    metadata: ClassifierMetadata

    def __post_init__(self) -> None:
        check_parameters(self.parameters, self.network, self.metadata.inner_steps)

    def predict(self, images: ArrayLike) -> NDArray[np.int64]:
        """The label of each image [n], from 0 to ways - 1.

        Before it is adapted, a classifier can only guess. ValueError tells of a wrong shape or type, of no image at
        all, or of a number that is not finite or so large that it overflows.
        """
        with torch.no_grad():
            logits, _ = self.network(self.parameters, self._images(images))
        if not torch.isfinite(logits).all():
            raise ValueError("the network's outputs overflow: the images' numbers are too large")
        labels: NDArray[np.int64] = logits.argmax(dim=1).numpy()
        return labels

    def adapt(
        self, images: ArrayLike, labels: ArrayLike, images_at_once: int = 1, meter: Meter | None = None
    ) -> Classifier:
        """The classifier after all inner steps on labelled images; itself it stays as it was.

        ``labels`` [n] are whole numbers from 0 to ways - 1. ``images_at_once`` are in work at a time and share their
        attention scores; ``meter`` tells how much memory the steps took. ValueError says what is wrong with the images
        or labels, or that this classifier cannot be adapted on a device.
        """
        if images_at_once < 1:
            raise ValueError(f"at least 1 image is in work at a time, got {images_at_once}")
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
                raise ValueError("the adapted parameters are not finite: the images or the step sizes are too large")
        return replace(self, parameters=parameters)

    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Write the classifier's file in one stroke; raise ValueError as ``Controller.save`` does."""
        content = to_json(self.metadata, self.network)
        write_tensors(place_for(path, overwrite), KIND, content, self.parameters)

    def _images(self, images: ArrayLike) -> Tensor:
        """The images [image, 3, side, side] as float32, checked."""
        side = self.network.side
        shapes = {"uint8": f"[n, {side}, {side}, 3]", "float32": f"[n, 3, {side}, {side}]"}
        try:
            array = np.asarray(images)
        except ValueError:
            raise ValueError(f"the images must be an array {shapes['uint8']} or {shapes['float32']}") from None
        if array.dtype != np.uint8 and array.dtype.kind != "f":
            wanted = " or ".join(f"{dtype} {shape}" for dtype, shape in shapes.items())
            raise ValueError(f"the images must be {wanted}, got {array.dtype}")
        expected = (side, side, 3) if array.dtype == np.uint8 else (3, side, side)
        if array.shape[1:] != expected or array.ndim != 4:
            dtype = "uint8" if array.dtype == np.uint8 else "float32"
            raise ValueError(f"images of {dtype} must have the shape {shapes[dtype]}, got {list(array.shape)}")
        if not len(array):
            raise ValueError("there is no image: give at least one")
        if array.dtype == np.uint8:
            return torch.from_numpy(_normalised(array))
        with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, which the check names
            numbers = np.require(array, np.float32, ["C", "W"])  # no copy if it is all that already
        if not np.isfinite(numbers).all():
            raise ValueError("the images hold a NaN or an infinite number")
        return torch.from_numpy(numbers)


def _normalised(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """As in meta-training: x / 127.5 - 1, channels first."""
    scaled = np.ascontiguousarray(np.moveaxis(pixels, -1, 1), np.float32)
    scaled /= np.float32(127.5)
    scaled -= np.float32(1)
    return scaled


def _labels(labels: ArrayLike, images: int, ways: int) -> NDArray[np.int64]:
    try:
        array = np.asarray(labels)
    except ValueError:
        raise ValueError(f"the labels must be an array of {images} whole numbers") from None
    if array.dtype.kind not in "iu":
        raise ValueError(f"the labels must be whole numbers, got {array.dtype}")
    if array.shape != (images,):
        raise ValueError(f"the labels must have the shape [{images}], one for each image, got {list(array.shape)}")
    if array.min() < 0 or array.max() >= ways:
        wrong = array.min() if array.min() < 0 else array.max()
        raise ValueError(f"the labels must be from 0 to {ways - 1} for {ways} classes, got {wrong}")
    return array.astype(np.int64)
