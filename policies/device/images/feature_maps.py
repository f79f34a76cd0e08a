"""Feature maps in an activation buffer that is exactly as large as what is in it.

They are [channel, image, height, width]: a layer that keeps height and width keeps every map in its place, however many
channels it adds or removes. Pooling changes the size of the maps and moves them within the buffer, which the allocator
then lengthens or shortens.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from metarl.policies.device.in_place import Bits, FloatArray
from metarl.policies.device.meter import Meter
from metarl.policies.networks.layers import Pooling

Shape = tuple[int, int, int, int]

_CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))  # of a pooling window, in the order in which ties are resolved


@dataclass
class FeatureMaps:
    """A tensor [channel, image, height, width] and the buffer that holds it."""

    meter: Meter
    memory: FloatArray  # [word]
    shape: Shape

    @property
    def array(self) -> FloatArray:
        """The tensor as a view, which must not outlive the next change of the shape."""
        return self.memory[: math.prod(self.shape)].reshape(self.shape)

    @property
    def words(self) -> FloatArray:
        """A view of the tensor as one row."""
        return self.memory[: math.prod(self.shape)]

    @property
    def positions(self) -> int:
        """Height times width of a map."""
        return self.shape[2] * self.shape[3]

    def room_for(self, channels: int) -> FloatArray:
        """Make the memory large enough for ``channels`` beside those in it; return a view [channel, ...] of it."""
        rows = max(channels, self.shape[0])
        if rows * math.prod(self.shape[1:]) > len(self.memory):
            self.meter.resize(self.memory, rows * math.prod(self.shape[1:]))
        return self.memory[: rows * math.prod(self.shape[1:])].reshape(rows, *self.shape[1:])

    def become(self, shape: Shape) -> None:
        """Take the first words of the memory as a tensor of another shape; free the rest, or lengthen the memory."""
        self.shape = shape
        if len(self.memory) != math.prod(shape):
            self.meter.resize(self.memory, math.prod(shape))

    def free(self) -> None:
        """Free the memory, even if the object is still referenced."""
        self.become((0, 0, 0, 0))

    def copy(self) -> FeatureMaps:
        """Return the same tensor in a buffer of its own."""
        copied = empty_feature_maps(self.meter, self.shape)
        copied.memory[:] = self.words
        return copied


def empty_feature_maps(meter: Meter, shape: Shape) -> FeatureMaps:
    """Return uninitialized feature maps in new memory."""
    return FeatureMaps(meter, meter.empty(math.prod(shape)), shape)


def pool(maps: FeatureMaps, pooling: Pooling, keep: bool) -> Bits | None:
    """Pool 2x2 windows in the maps' own memory; with ``keep`` return two bits per maximum, the corner it came from."""
    meter, (channels, images, height, width) = maps.meter, maps.shape
    small = height // 2, width // 2
    count = small[0] * small[1]
    feature_map = meter.empty(*small)
    greater = meter.count(np.empty(small, np.bool_))
    corner = meter.count(np.zeros(-(-count // 4) * 4, np.uint8))
    bits = meter.count(np.empty((channels * images, len(corner) // 4), np.uint8)) if keep and pooling == "max" else None
    old, new = maps.memory, maps.memory[: channels * images * count].reshape(-1, *small)
    for index in range(channels * images):
        windows = _windows(old[index * height * width :][: height * width].reshape(height, width))
        np.copyto(feature_map, next(windows))
        corner[:] = 0
        for number, values in enumerate(windows, start=1):
            if pooling == "average":
                np.add(feature_map, values, out=feature_map)
                continue
            np.greater(values, feature_map, out=greater)
            np.copyto(feature_map, values, where=greater)
            np.copyto(corner[:count].reshape(small), number, where=greater)
        if pooling == "average":
            np.multiply(feature_map, 0.25, out=feature_map)
        if bits is not None:
            np.matmul(corner.reshape(-1, 4), _PLACES, out=bits[index])
        new[index] = feature_map
    del old, new, windows
    maps.become((channels, images, *small))
    return bits


def pool_backward(gradient: FeatureMaps, height: int, width: int, bits: Bits | None) -> None:
    """Turn the gradient at a pooling's output into the gradient at its input, in the same buffer, which grows.

    Args:
        gradient: the gradient [channel, image, height // 2, width // 2] at the output; at the input afterwards.
        height: of the feature maps before the pooling.
        width: of the feature maps before the pooling.
        bits: the corners that ``pool`` kept of maxima; None for average pooling.
    """
    meter, (channels, images, *small) = gradient.meter, gradient.shape
    count = small[0] * small[1]
    feature_map, selected = meter.empty(*small), meter.count(np.empty(small, np.bool_))
    corner = meter.count(np.empty((-(-count // 4), 4), np.uint8))
    gradient.become((channels, images, height, width))
    words = gradient.memory
    for index in reversed(range(channels * images)):
        feature_map[:] = words[index * count :][:count].reshape(small)
        full = words[index * height * width :][: height * width].reshape(height, width)
        full[:] = 0
        if bits is not None:
            np.floor_divide(bits[index][:, None], _PLACES, out=corner)
            np.bitwise_and(corner, 3, out=corner)
        for number, window in enumerate(_windows(full)):
            if bits is None:
                np.multiply(feature_map, 0.25, out=window)
            else:
                np.equal(corner.reshape(-1)[:count].reshape(small), number, out=selected)
                np.multiply(feature_map, selected, out=window)


def pool_row(values: FloatArray, row: int, left: int, pooled: FloatArray, pooling: Pooling) -> None:
    """Pool a part of one row into an image's pooled feature maps; rows must come in their order.

    Args:
        values: the part [channel, width], overwritten for average pooling.
        row: the row's number in the image.
        left: the part's first column, an even number.
        pooled: the pooled feature maps [channel, height // 2, width // 2] so far.
        pooling: ``max`` or ``average``.
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


def _windows(feature_map: FloatArray) -> Iterator[FloatArray]:
    """Yield, for each corner of the pooling windows, its numbers as a view [pooled height, pooled width]."""
    height, width = feature_map.shape[0] // 2 * 2, feature_map.shape[1] // 2 * 2
    for row, column in _CORNERS:
        yield feature_map[row:height:2, column:width:2]


_PLACES = np.array([1, 4, 16, 64], np.uint8)
