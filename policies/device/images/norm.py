"""Group norm on a device, forward and back, one plane at a time and in place.

On its way back a gradient needs the whole normalised input. Where that was not kept, because the norm is not updated or
attention chose some of its channels, it is computed again, a few positions at a time and twice, from the input of the
convolution before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from metarl.policies.device.accumulators import Channels
from metarl.policies.device.images.convolution import Place, windows
from metarl.policies.device.images.feature_maps import Planes, empty_planes
from metarl.policies.device.in_place import FloatArray
from metarl.policies.device.meter import Meter
from metarl.policies.networks.kinds import GROUPS

_EPSILON = 1e-5  # on the variance; PyTorch's default


class Statistics(NamedTuple):
    """Of the groups of channels of each image."""

    mean: FloatArray  # [channel, image], the group's
    inverse_std: FloatArray  # [channel, image], the group's


class NormalisedPart(NamedTuple):
    """The normalised input at some place, to do with as one likes."""

    place: Place
    values: FloatArray  # [channel, position]


def normalise(planes: Planes) -> Statistics:
    """Mean 0 and variance 1 for each image and group of channels, in place (Wu and He, 2018)."""
    array, meter = planes.array, planes.meter
    channels, images = planes.shape[:2]
    statistics = Statistics(meter.empty(channels, images), meter.empty(channels, images))
    size = channels // GROUPS
    for image in range(images):
        for start in range(0, channels, size):
            group = [array[channel, image].reshape(-1) for channel in range(start, start + size)]
            mean = np.float32(sum(float(np.add.reduce(plane)) for plane in group) / (size * planes.positions))
            for plane in group:
                np.subtract(plane, mean, out=plane)
            variance = sum(float(np.dot(plane, plane)) for plane in group) / (size * planes.positions)
            inverse_std = np.float32(1 / np.sqrt(variance + _EPSILON))
            for plane in group:
                np.multiply(plane, inverse_std, out=plane)
            statistics.mean[start : start + size, image] = mean
            statistics.inverse_std[start : start + size, image] = inverse_std
    return statistics


def scale_and_shift(planes: Planes, weight: FloatArray, bias: FloatArray, in_place: bool) -> Planes:
    """gamma_c * x + beta_c."""
    output = planes if in_place else empty_planes(planes.meter, planes.shape)
    for source, target, scale, shift in zip(planes.array, output.array, weight, bias, strict=True):
        np.multiply(source, scale, out=target)
        np.add(target, shift, out=target)
    return output


def normalised_parts(source: Planes, weight: FloatArray, statistics: Statistics) -> Iterator[NormalisedPart]:
    """The normalised convolution of ``source`` again, which stays as it is, from the top to the bottom."""
    meter, outputs = source.meter, len(weight)
    matrix = weight.reshape(outputs, -1)
    memory = meter.empty(0)
    for place, seen in windows(source.array, weight, meter, staged=outputs):
        words = outputs * seen.shape[1]
        if len(memory) < words:
            memory = meter.empty(words)
        values = memory[:words].reshape(outputs, -1)
        np.matmul(matrix, seen, out=values)
        np.subtract(values, statistics.mean[:, place.image, None], out=values)
        np.multiply(values, statistics.inverse_std[:, place.image, None], out=values)
        yield NormalisedPart(place, values)


def plane_sums(planes: FloatArray, meter: Meter) -> FloatArray:
    """The sum over the positions [channel, image] of [channel, image, height, width]."""
    sums = meter.empty(*planes.shape[:2])
    for channel, of_images in enumerate(planes):
        for image, plane in enumerate(of_images):
            sums[channel, image] = np.add.reduce(plane.reshape(-1))
    return sums


def plane_products(planes: FloatArray, gradient: FloatArray, channels: Channels | None, meter: Meter) -> FloatArray:
    """The sum over the positions [channel, image] of planes times those ``channels`` of a gradient (None: all)."""
    products = meter.empty(*planes.shape[:2])
    for place, of_images in enumerate(planes):
        channel = place if channels is None else channels[place]
        for image, plane in enumerate(of_images):
            products[place, image] = np.dot(plane.reshape(-1), gradient[channel, image].reshape(-1))
    return products


def part_products(normalised: Iterable[NormalisedPart], gradient: Planes) -> FloatArray:
    """The sums of ``plane_products`` for the whole normalised input and a gradient, from parts of it."""
    array = gradient.array
    products = gradient.meter.zeros(*gradient.shape[:2])
    for place, values in normalised:
        products[:, place.image] += np.einsum("cp,cp->c", values, place.of(array))
    return products


class GroupMeans(NamedTuple):
    """What the norm's way back subtracts from gamma * g: ``shift`` + ``tilt`` * x."""

    shift: FloatArray  # [channel, image]
    tilt: FloatArray  # [channel, image]


def group_means(weight: FloatArray, sums: FloatArray, products: FloatArray, positions: int) -> GroupMeans:
    """Each group's means of gamma * g and of gamma * g * x, in the memory of ``sums`` and ``products``."""
    size = len(weight) // GROUPS
    for totals in (sums, products):
        np.multiply(totals, weight[:, None], out=totals)
        for start in range(0, len(weight), size):
            totals[start : start + size] = np.add.reduce(totals[start : start + size]) / (size * positions)
    return GroupMeans(sums, products)


def norm_back(gradient: Planes, weight: FloatArray, statistics: Statistics, means: GroupMeans, kept: Planes) -> None:
    """g at the norm's input, in the memory of that at its output, from the normalised input ``kept``, used up."""
    for channel, pair in enumerate(zip(gradient.array, kept.array, strict=True)):
        for image, (plane, normalised) in enumerate(zip(*pair, strict=True)):
            np.multiply(normalised, means.tilt[channel, image], out=normalised)
            np.multiply(plane, weight[channel], out=plane)
            np.subtract(plane, means.shift[channel, image], out=plane)
            np.subtract(plane, normalised, out=plane)
            np.multiply(plane, statistics.inverse_std[channel, image], out=plane)


def norm_back_by_parts(
    gradient: Planes,
    weight: FloatArray,
    statistics: Statistics,
    means: GroupMeans,
    normalised: Iterable[NormalisedPart],
) -> None:
    """The same from parts of the normalised input."""
    array = gradient.array
    for place, values in normalised:
        part, image = place.of(array), place.image
        np.multiply(values, means.tilt[:, image, None], out=values)
        np.multiply(part, weight[:, None], out=part)
        np.subtract(part, means.shift[:, image, None], out=part)
        np.subtract(part, values, out=part)
        np.multiply(part, statistics.inverse_std[:, image, None], out=part)
