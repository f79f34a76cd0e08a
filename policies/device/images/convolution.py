"""Convolutions of stride 1 that keep height and width, forward and back, a few positions of one image at a time.

The windows around these are laid out as the columns of a matrix, so that every product is one of matrices. The output
overwrites the input where that is not kept: rows are read before others are written in their place, and what the next
rows still need of them is put aside.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from metarl.policies.device.accumulators import Channels
from metarl.policies.device.images.feature_maps import Planes, empty_planes
from metarl.policies.device.in_place import FloatArray
from metarl.policies.device.meter import Meter

# The room for positions in work: this part of the larger of input and output, or what a few of them need.
_WORK_SHARE = 1 / 32
_FEW = 16


class Place(NamedTuple):
    """Some rows of one image, or a part of one row."""

    image: int
    rows: slice
    columns: slice

    def of(self, planes: FloatArray) -> FloatArray:
        """The place in planes [channel, image, height, width]: [channel, position], a view."""
        part = planes[:, self.image, self.rows, self.columns]
        return part.reshape(len(part), -1)


class Windows(NamedTuple):
    """What a convolution sees of its input at a place."""

    place: Place
    matrix: FloatArray  # [input channel * kernel * kernel, position]


def convolve(source: Planes, weight: FloatArray, in_place: bool) -> Planes:
    """y = w * x for a weight [output, input, kernel, kernel]; ``in_place``, in the memory of x."""
    outputs = len(weight)
    shape = (outputs, *source.shape[1:])
    array = source.array
    if in_place:
        room = source.room_for(outputs)
        array, target, output = room[: source.shape[0]], source, room
    else:
        target = empty_planes(source.meter, shape)
        output = target.array
    matrix = weight.reshape(outputs, -1)
    for place, seen in windows(array, weight, source.meter):
        np.matmul(matrix, seen, out=place.of(output[:outputs]))
    del array, output
    if in_place:
        del room
        target.become(shape)
    return target


def convolve_back(gradient: Planes, weight: FloatArray) -> None:
    """g(x) from g(y), in its memory."""
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
) -> None:
    """Adds gamma_bw[o] * gamma_fw[c] * dL/dw[o, c] to ``total`` [output, input, kernel, kernel].

    ``inputs`` and ``gradient`` are x and g(y) [channel, image, height, width]; of x those ``channels`` of ``total``
    alone, or without them all. ``scores`` are gamma_fw of the channels of ``inputs`` and gamma_bw; None is 1.
    """
    forward, backward = scores
    area, count = weight.shape[2] ** 2, len(inputs)
    together = max(1, min(len(weight), int(max(8 * area * count, _WORK_SHARE * gradient.size) / (area * count))))
    room = meter.empty(together, count, area)
    selected = meter.empty(*(() if channels is None else (count, area)))
    totals = total.reshape(len(weight), -1, area)
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
            if channels is None:
                np.add(totals[start:stop], product, out=totals[start:stop])
                continue
            for target, change in zip(totals[start:stop], product, strict=True):
                np.take(target, channels, axis=0, out=selected, mode="clip")
                target[channels] = np.add(selected, change, out=selected)


def windows(source: FloatArray, weight: FloatArray, meter: Meter, staged: int = 0) -> Iterator[Windows]:
    """The windows of [channel, image, height, width], image by image from the top to the bottom.

    What was yielded may be overwritten, and all rows above: it is not read again. ``staged`` numbers per position are
    what the caller needs for the places in work.
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
    """How many rows, or which even part of one row; ``tensor`` [channel, image, height, width] says their size."""
    outputs, inputs, kernel, _ = weight.shape
    images, height, width = tensor.shape[1:]
    share = _WORK_SHARE * max(outputs, inputs) * images * height * width
    positions = max(min(_FEW, width), int(share) // (inputs * kernel**2 + staged))
    if positions < width:
        return 1, positions // 2 * 2
    return min(height, positions // width), width
