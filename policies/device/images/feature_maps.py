"""Tensors of images that travel through a network in memory exactly as large as what is in it.

They are [channel, image, height, width]: a layer that keeps height and width keeps every plane in its place, however
many channels it adds or leaves out. What changes the size of the planes moves them within their memory, which the
allocator then lengthens or cuts off.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from metarl.policies.device.in_place import ActivationBuffer, Bits, FloatArray
from metarl.policies.device.meter import Meter
from metarl.policies.networks.layers import Pooling

Shape = tuple[int, int, int, int]

_CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))  # of a pooling window, in the order in which ties are resolved


@dataclass
class Planes:
    """A tensor [channel, image, height, width] and its memory."""

    meter: Meter
    memory: FloatArray  # [word]
    shape: Shape

    @property
    def array(self) -> FloatArray:
        """A view, which must not outlive the next change of the shape."""
        return self.memory[: math.prod(self.shape)].reshape(self.shape)

    @property
    def buffer(self) -> ActivationBuffer:
        """The same tensor as one row."""
        return ActivationBuffer(self.memory, 1, math.prod(self.shape))

    @property
    def positions(self) -> int:
        """Of one plane."""
        return self.shape[2] * self.shape[3]

    def room_for(self, channels: int) -> FloatArray:
        """A view [channel, ...] of memory that has been made large enough for so many channels beside those there."""
        rows = max(channels, self.shape[0])
        if rows * math.prod(self.shape[1:]) > len(self.memory):
            self.meter.resize(self.memory, rows * math.prod(self.shape[1:]))
        return self.memory[: rows * math.prod(self.shape[1:])].reshape(rows, *self.shape[1:])

    def become(self, shape: Shape) -> None:
        """The first words of the memory are a tensor of that shape now; the rest is given back, or added."""
        self.shape = shape
        if len(self.memory) != math.prod(shape):
            self.meter.resize(self.memory, math.prod(shape))

    def free(self) -> None:
        """Gives the memory back, whoever still knows of the tensor."""
        self.become((0, 0, 0, 0))

    def copy(self) -> Planes:
        copied = empty_planes(self.meter, self.shape)
        copied.memory[:] = self.buffer.words
        return copied


def empty_planes(meter: Meter, shape: Shape) -> Planes:
    """Planes in new memory."""
    return Planes(meter, meter.empty(math.prod(shape)), shape)


def pool(planes: Planes, pooling: Pooling, keep: bool) -> Bits | None:
    """2x2 pooling, in the planes' own memory. Two bits per maximum, if ``keep``, say which corner it came from."""
    meter, (channels, images, height, width) = planes.meter, planes.shape
    small = height // 2, width // 2
    count = small[0] * small[1]
    plane = meter.empty(*small)
    greater = meter.count(np.empty(small, np.bool_))
    corner = meter.count(np.zeros(-(-count // 4) * 4, np.uint8))
    bits = meter.count(np.empty((channels * images, len(corner) // 4), np.uint8)) if keep and pooling == "max" else None
    old, new = planes.memory, planes.memory[: channels * images * count].reshape(-1, *small)
    for index in range(channels * images):
        windows = _windows(old[index * height * width :][: height * width].reshape(height, width))
        np.copyto(plane, next(windows))
        corner[:] = 0
        for number, values in enumerate(windows, start=1):
            if pooling == "average":
                np.add(plane, values, out=plane)
                continue
            np.greater(values, plane, out=greater)
            np.copyto(plane, values, where=greater)
            np.copyto(corner[:count].reshape(small), number, where=greater)
        if pooling == "average":
            np.multiply(plane, 0.25, out=plane)
        if bits is not None:
            np.matmul(corner.reshape(-1, 4), _PLACES, out=bits[index])
        new[index] = plane
    del old, new, windows
    planes.become((channels, images, *small))
    return bits


def unpool(gradient: Planes, height: int, width: int, bits: Bits | None) -> None:
    """The gradient before the pooling, in the memory of the gradient behind it, which grows."""
    meter, (channels, images, *small) = gradient.meter, gradient.shape
    count = small[0] * small[1]
    plane, selected = meter.empty(*small), meter.count(np.empty(small, np.bool_))
    corner = meter.count(np.empty((-(-count // 4), 4), np.uint8))
    gradient.become((channels, images, height, width))
    words = gradient.memory
    for index in reversed(range(channels * images)):
        plane[:] = words[index * count :][:count].reshape(small)
        full = words[index * height * width :][: height * width].reshape(height, width)
        full[:] = 0
        if bits is not None:
            np.floor_divide(bits[index][:, None], _PLACES, out=corner)
            np.bitwise_and(corner, 3, out=corner)
        for number, window in enumerate(_windows(full)):
            if bits is None:
                np.multiply(plane, 0.25, out=window)
            else:
                np.equal(corner.reshape(-1)[:count].reshape(small), number, out=selected)
                np.multiply(plane, selected, out=window)


def pool_row(values: FloatArray, row: int, left: int, pooled: FloatArray, pooling: Pooling) -> None:
    """Enters a part [channel, width] of an image's row, from the even column ``left`` on, into its pooled image.

    Rows must come in their order.
    """
    if row // 2 >= pooled.shape[1]:
        return
    target = pooled[:, row // 2, left // 2 :][:, : values.shape[1] // 2]
    for corner in (0, 1):
        of_corner = values[:, corner : 2 * target.shape[1] : 2]
        first = row % 2 == 0 and corner == 0
        if pooling == "average":
            np.multiply(of_corner, 0.25, out=of_corner)
        if first:
            np.copyto(target, of_corner)
        elif pooling == "max":
            np.maximum(target, of_corner, out=target)
        else:
            np.add(target, of_corner, out=target)


def _windows(plane: FloatArray) -> Iterator[FloatArray]:
    """Views [pooled height, pooled width] of the corners of all pooling windows."""
    height, width = plane.shape[0] // 2 * 2, plane.shape[1] // 2 * 2
    for row, column in _CORNERS:
        yield plane[row:height:2, column:width:2]


_PLACES = np.array([1, 4, 16, 64], np.uint8)
