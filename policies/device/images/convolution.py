"""Convolutions of stride 1 that keep height and width, forward and backward, a few positions of an image at a time.

The windows around the positions are laid out as the columns of a matrix, so that every product is a matrix product. The
output overwrites the input unless the input is kept: rows are read before they are overwritten, and a copy remains of
what the next rows still need.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from metarl.policies.device.accumulators import Channels, Kept, rows_of
from metarl.policies.device.images.feature_maps import FeatureMaps, empty_feature_maps
from metarl.policies.device.in_place import FloatArray
from metarl.policies.device.meter import Meter

# The memory for the positions in work: this share of the larger of input and output, or enough for a few positions.
_WORK_SHARE = 1 / 32
_FEW = 16


class Place(NamedTuple):
    """Positions: some rows of one image, or a part of one row."""

    image: int
    rows: slice
    columns: slice

    def of(self, maps: FloatArray) -> FloatArray:
        """Return the positions [channel, position] of feature maps [channel, image, height, width] as a view."""
        part = maps[:, self.image, self.rows, self.columns]
        return part.reshape(len(part), -1)


class Windows(NamedTuple):
    """The windows of a convolution's input around some positions."""

    place: Place
    matrix: FloatArray  # [input channel * kernel * kernel, position]


def convolve(source: FeatureMaps, weight: FloatArray, in_place: bool) -> FeatureMaps:
    """Return y = w * x for a weight [output, input, kernel, kernel], in the buffer of x if ``in_place``."""
    outputs = len(weight)
    shape = (outputs, *source.shape[1:])
    array = source.array
    if in_place:
        room = source.room_for(outputs)
        array, target, output = room[: source.shape[0]], source, room
    else:
        target = empty_feature_maps(source.meter, shape)
        output = target.array
    matrix = weight.reshape(outputs, -1)
    for place, seen in windows(array, weight, source.meter):
        np.matmul(matrix, seen, out=place.of(output[:outputs]))
    del array, output
    if in_place:
        del room
        target.become(shape)
    return target


def convolve_backward(gradient: FeatureMaps, weight: FloatArray) -> None:
    """Turn the gradient g(y) at a convolution's output into g(x) at its input, in the same buffer."""
    outputs, inputs, kernel, _ = weight.shape
    pad = kernel // 2
    room = gradient.room_for(inputs)
    _, images, height, width = gradient.shape
    count, part = _in_work(weight, room, staged=0)
    stripe = gradient.meter.empty(inputs, count + 2 * pad, width + 2 * pad)
    memory = gradient.meter.empty(inputs * kernel**2 * count * part)
    matrix = weight.reshape(outputs, -1).T
    for image in range(images):
        stripe[:] = 0
        for start in range(0, height, count):
            rows = min(count, height - start)
            for place in _places(image, start, rows, width, part):
                at_output = place.of(room[:outputs])
                seen = memory[: len(matrix) * at_output.shape[1]].reshape(len(matrix), -1)
                np.matmul(matrix, at_output, out=seen)
                by_offset = seen.reshape(inputs, kernel, kernel, rows, -1)
                for row in range(kernel):
                    for column in range(kernel):
                        left = place.columns.start + column
                        target = stripe[:, row : row + rows, left : left + by_offset.shape[4]]
                        np.add(target, by_offset[:, row, column], out=target)
            # The stripe begins ``pad`` rows above; no later row adds to its first ``rows`` ones.
            above = max(0, pad - start)
            room[:inputs, image, start - pad + above : start - pad + rows] = stripe[:, above:rows, pad : pad + width]
            for row in range(2 * pad):
                stripe[:, row] = stripe[:, row + rows]
            stripe[:, 2 * pad :] = 0
        room[:inputs, image, height - pad : height] = stripe[:, :pad, pad : pad + width]
    del room
    gradient.become((inputs, *gradient.shape[1:]))


def add_weight_gradient(
    total: FloatArray,
    inputs: FloatArray,
    gradient: FloatArray,
    weight: FloatArray,
    meter: Meter,
    channels: Channels | None = None,
    scores: tuple[FloatArray | None, FloatArray | None] = (None, None),
    kept: Kept | None = None,
) -> None:
    """Add gamma_bw[o] * gamma_fw[c] * dL/dw[o, c] to an accumulator.

    Args:
        total: the accumulator [output, input, kernel, kernel], or that of the kept numbers of a pruned weight [number].
        inputs: some or all channels of x [kept channel, image, height, width].
        gradient: g(y) [channel, image, height, width].
        weight: w, for its shape.
        meter: the source of memory.
        channels: the input channels of ``total`` that ``inputs`` holds; None if it holds all of them.
        scores: gamma_fw of the channels of ``inputs``, and gamma_bw; None for 1.
        kept: which numbers of a pruned weight ``total`` is for; None for all.
    """
    forward, backward = scores
    area, count = weight.shape[2] ** 2, len(inputs)
    together = max(1, min(len(weight), int(max(8 * area * count, _WORK_SHARE * gradient.size) / (area * count))))
    room = meter.empty(together, count, area)
    selected = meter.empty(*(() if channels is None else (count, area)))
    # By output: the accumulator [channel, area], or that of the output's kept numbers.
    totals = list(total.reshape(len(weight), -1, area)) if kept is None else rows_of(total, kept)
    for place, seen in windows(inputs, weight, meter):
        at_output = place.of(gradient)
        for start in range(0, len(weight), together):
            stop = min(start + together, len(weight))
            if backward is not None and not backward[start:stop].any():
                continue
            product = room[: stop - start]
            np.matmul(at_output[start:stop], seen.T, out=product.reshape(stop - start, -1))
            if forward is not None:
                np.multiply(product, forward[:, None], out=product)
            if backward is not None:
                np.multiply(product, backward[start:stop, None, None], out=product)
            for output, change in enumerate(product, start):
                target = totals[output]
                if kept is not None:
                    np.add(target, change[kept[output].reshape(change.shape)], out=target)
                elif channels is None:
                    np.add(target, change, out=target)
                else:
                    np.take(target, channels, axis=0, out=selected, mode="clip")
                    target[channels] = np.add(selected, change, out=selected)


def windows(source: FloatArray, weight: FloatArray, meter: Meter, staged: int = 0) -> Iterator[Windows]:
    """Yield the windows of feature maps, image by image from top to bottom.

    What was yielded and all rows above may be overwritten: they are not read again.

    Args:
        source: the feature maps [channel, image, height, width].
        weight: the convolution's weight [output, input, kernel, kernel], for its shape.
        meter: the source of memory.
        staged: numbers per position that the caller keeps of the positions in work.
    """
    channels, images, height, width = source.shape
    kernel = weight.shape[2]
    pad = kernel // 2
    count, part = _in_work(weight, source, staged)
    stripe = meter.empty(channels, count + 2 * pad, width + 2 * pad)
    memory = meter.empty(channels * kernel**2 * count * part)
    channel, row, word = stripe.strides
    for image in range(images):
        stripe[:] = 0
        stripe[:, pad : 2 * pad, pad : pad + width] = source[:, image, :pad]
        for start in range(0, height, count):
            rows = min(count, height - start)
            below = min(rows, height - start - pad)  # rows that the image still has
            stripe[:, 2 * pad : 2 * pad + below, pad : pad + width] = source[:, image, start + pad :][:, :below]
            stripe[:, 2 * pad + below :] = 0
            for place in _places(image, start, rows, width, part):
                shape = channels, kernel, kernel, rows, place.columns.stop - place.columns.start
                seen = memory[: math.prod(shape)].reshape(shape)
                seen[:] = as_strided(stripe[:, :, place.columns.start :], shape, (channel, row, word, row, word))
                yield Windows(place, seen.reshape(channels * kernel**2, -1))
            for above in range(2 * pad):
                stripe[:, above] = stripe[:, above + rows]


def _places(image: int, start: int, rows: int, width: int, part: int) -> Iterator[Place]:
    for left in range(0, width, part):
        yield Place(image, slice(start, start + rows), slice(left, min(left + part, width)))


def _in_work(weight: FloatArray, tensor: FloatArray, staged: int) -> tuple[int, int]:
    """Return the rows in work and their columns: some whole rows, or an even number of columns of one row."""
    outputs, inputs, kernel, _ = weight.shape
    images, height, width = tensor.shape[1:]
    share = _WORK_SHARE * max(outputs, inputs) * images * height * width
    positions = max(min(_FEW, width), int(share) // (inputs * kernel**2 + staged))
    if positions < width:
        return 1, positions // 2 * 2
    return min(height, positions // width), width
