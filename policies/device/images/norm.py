"""Group norm on a device, forward and backward, one feature map at a time and in place.

The backward pass needs the whole normalized input. Where it was not kept, because the norm is not updated or attention
chose some of its channels, it is recomputed, a few positions at a time and twice, from the input of the convolution
before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from metarl.policies.device.accumulators import Channels
from metarl.policies.device.images.convolution import Place, windows
from metarl.policies.device.images.feature_maps import FeatureMaps, empty_feature_maps
from metarl.policies.device.in_place import FloatArray
from metarl.policies.device.meter import Meter
from metarl.policies.networks.kinds import GROUPS

_EPSILON = 1e-5  # on the variance; PyTorch's default


class Statistics(NamedTuple):
    """The mean and the inverse standard deviation of each channel's group in each image."""

    mean: FloatArray  # [channel, image]
    inverse_std: FloatArray  # [channel, image]


class NormalizedPart(NamedTuple):
    """The normalized input at some positions, in memory that the caller may overwrite."""

    place: Place
    values: FloatArray  # [channel, position]


def normalize(maps: FeatureMaps) -> Statistics:
    """Normalize each image and group of channels to mean 0 and variance 1, in place (Wu and He 2018)."""
    array, meter = maps.array, maps.meter
    channels, images = maps.shape[:2]
    statistics = Statistics(meter.empty(channels, images), meter.empty(channels, images))
    size = channels // GROUPS
    for image in range(images):
        for start in range(0, channels, size):
            group = [array[channel, image].reshape(-1) for channel in range(start, start + size)]
            mean = np.float32(sum(float(np.add.reduce(feature_map)) for feature_map in group) / (size * maps.positions))
            for feature_map in group:
                np.subtract(feature_map, mean, out=feature_map)
            variance = sum(float(np.dot(feature_map, feature_map)) for feature_map in group) / (size * maps.positions)
            inverse_std = np.float32(1 / np.sqrt(variance + _EPSILON))
            for feature_map in group:
                np.multiply(feature_map, inverse_std, out=feature_map)
            statistics.mean[start : start + size, image] = mean
            statistics.inverse_std[start : start + size, image] = inverse_std
    return statistics


def scale_and_shift(maps: FeatureMaps, weight: FloatArray, bias: FloatArray, in_place: bool) -> FeatureMaps:
    """Return gamma_c * x + beta_c, in the buffer of x if ``in_place``.

    Args:
        maps: the normalized input x.
        weight: gamma [channel].
        bias: beta [channel].
        in_place: whether x may be overwritten.

    Returns:
        The norm's output, of the shape of ``maps``.
    """
    output = maps if in_place else empty_feature_maps(maps.meter, maps.shape)
    for source, target, scale, shift in zip(maps.array, output.array, weight, bias, strict=True):
        np.multiply(source, scale, out=target)
        np.add(target, shift, out=target)
    return output


def normalized_parts(source: FeatureMaps, weight: FloatArray, statistics: Statistics) -> Iterator[NormalizedPart]:
    """Recompute the normalized output of a convolution from its input ``source``; yield it from top to bottom."""
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
        yield NormalizedPart(place, values)


def position_sums(maps: FloatArray, meter: Meter) -> FloatArray:
    """Return the sums [channel, image] over the positions of feature maps [channel, image, height, width]."""
    sums = meter.empty(*maps.shape[:2])
    for channel, of_images in enumerate(maps):
        for image, feature_map in enumerate(of_images):
            sums[channel, image] = np.add.reduce(feature_map.reshape(-1))
    return sums


def position_products(maps: FloatArray, gradient: FloatArray, channels: Channels | None, meter: Meter) -> FloatArray:
    """Return the sums over the positions of feature maps times a gradient.

    Args:
        maps: some or all channels [kept channel, image, height, width].
        gradient: all channels [channel, image, height, width].
        channels: the channels that ``maps`` holds; None if it holds all.
        meter: the source of memory.

    Returns:
        The sums [kept channel, image].
    """
    products = meter.empty(*maps.shape[:2])
    for place, of_images in enumerate(maps):
        channel = place if channels is None else channels[place]
        for image, feature_map in enumerate(of_images):
            products[place, image] = np.dot(feature_map.reshape(-1), gradient[channel, image].reshape(-1))
    return products


def part_products(normalized: Iterable[NormalizedPart], gradient: FeatureMaps) -> FloatArray:
    """Return what ``position_products`` gives for all channels, from parts of the normalized input."""
    array = gradient.array
    products = gradient.meter.zeros(*gradient.shape[:2])
    for place, values in normalized:
        products[:, place.image] += np.einsum("cp,cp->c", values, place.of(array))
    return products


class GroupMeans(NamedTuple):
    """What the norm's backward pass subtracts from gamma * g: ``shift`` + ``tilt`` * x."""

    shift: FloatArray  # [channel, image]
    tilt: FloatArray  # [channel, image]


def group_means(weight: FloatArray, sums: FloatArray, products: FloatArray, positions: int) -> GroupMeans:
    """Return each group's means of gamma * g and of gamma * g * x, in the memory of ``sums`` and ``products``.

    Args:
        weight: gamma [channel].
        sums: the sums over the positions of g [channel, image].
        products: the sums over the positions of g * x [channel, image].
        positions: height times width.

    Returns:
        The means, the same for all channels of a group.
    """
    size = len(weight) // GROUPS
    for totals in (sums, products):
        np.multiply(totals, weight[:, None], out=totals)
        for start in range(0, len(weight), size):
            totals[start : start + size] = np.add.reduce(totals[start : start + size]) / (size * positions)
    return GroupMeans(sums, products)


def norm_backward(
    gradient: FeatureMaps, weight: FloatArray, statistics: Statistics, means: GroupMeans, kept: FeatureMaps
) -> None:
    """Turn the gradient g at a norm's output into the gradient at its input, in place.

    Args:
        gradient: g at the output; at the input afterwards.
        weight: gamma [channel].
        statistics: those of the forward pass.
        means: the groups' means of gamma * g and gamma * g * x.
        kept: the normalized input x, which is overwritten.
    """
    for channel, pair in enumerate(zip(gradient.array, kept.array, strict=True)):
        for image, (feature_map, normalized) in enumerate(zip(*pair, strict=True)):
            np.multiply(normalized, means.tilt[channel, image], out=normalized)
            np.multiply(feature_map, weight[channel], out=feature_map)
            np.subtract(feature_map, means.shift[channel, image], out=feature_map)
            np.subtract(feature_map, normalized, out=feature_map)
            np.multiply(feature_map, statistics.inverse_std[channel, image], out=feature_map)


def norm_backward_by_parts(
    gradient: FeatureMaps,
    weight: FloatArray,
    statistics: Statistics,
    means: GroupMeans,
    normalized: Iterable[NormalizedPart],
) -> None:
    """Do what ``norm_backward`` does from parts of the normalized input.

    Args:
        gradient: g at the output; at the input afterwards.
        weight: gamma [channel].
        statistics: those of the forward pass.
        means: the groups' means of gamma * g and gamma * g * x.
        normalized: the parts, which are overwritten.
    """
    array = gradient.array
    for place, values in normalized:
        part, image = place.of(array), place.image
        np.multiply(values, means.tilt[:, image, None], out=values)
        np.multiply(part, weight[:, None], out=part)
        np.subtract(part, means.shift[:, image, None], out=part)
        np.subtract(part, values, out=part)
        np.multiply(part, statistics.inverse_std[:, image, None], out=part)
