"""The backward pass of an image network on a device: every updated layer's gradient, from the last to the first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from metarl.policies.device.accumulators import Accumulators, Channels, Kept, accumulator, rows_of
from metarl.policies.device.images.blocks import (
    Block,
    DeviceImageNetwork,
    ImageTrace,
    Stored,
    Unit,
    add,
    batch_scores,
    forward,
)
from metarl.policies.device.images.convolution import add_weight_gradient, convolve_backward
from metarl.policies.device.images.feature_maps import FeatureMaps, empty_feature_maps, pool_backward
from metarl.policies.device.images.norm import (
    group_means,
    norm_backward,
    norm_backward_by_parts,
    normalized_parts,
    part_products,
    position_products,
    position_sums,
)
from metarl.policies.device.images.recomputation import conv_input
from metarl.policies.device.in_place import FloatArray
from metarl.policies.device.in_place import block as pass_activation
from metarl.policies.device.network import DeviceLayer


@dataclass(frozen=True)
class Batch:
    """Images in work, and the accumulators of their gradients."""

    labels: NDArray[np.int64]  # [image]
    trace: ImageTrace
    accumulators: Accumulators  # sums over the images
    alone: bool  # the only batch of the step: the accumulators need no room for channels that it does not keep


def accumulate(device: DeviceImageNetwork, batch: Batch) -> Iterator[int]:
    """Accumulate the gradients of the images' cross-entropy; yield the index of each layer as it is differentiated."""
    maps = forward(device, batch.trace)
    features, shape = _features(device, maps), maps.shape
    maps.free()
    last = len(device.layers) - 1
    at_logits = _logit_gradient(device, features, batch.labels)
    if device.layers[last].updated:
        _add_last_layer(device, batch, features, at_logits)
    yield last
    del features
    if device.first == last:
        return
    gradient = _feature_gradient(device, at_logits, shape)
    for block in reversed(device.blocks):
        if block.last < device.first:
            return
        yield from _block_backward(device, block, gradient, batch)


def _features(device: DeviceImageNetwork, maps: FeatureMaps) -> FloatArray:
    """Return the last layer's input [image, feature]."""
    channels, images, height, width = maps.shape
    if device.stated[-1].reduction == "average":
        features = device.meter.empty(images, channels)
        np.divide(position_sums(maps.array, device.meter).T, maps.positions, out=features)
        return features
    features = device.meter.empty(images, channels * maps.positions)
    features.reshape(images, channels, height, width)[:] = maps.array.transpose(1, 0, 2, 3)
    return features


def _feature_gradient(
    device: DeviceImageNetwork, at_logits: FloatArray, shape: tuple[int, int, int, int]
) -> FeatureMaps:
    """Return the gradient at the last block's output, of that shape."""
    gradient = empty_feature_maps(device.meter, shape)
    channels, images, height, width = shape
    at_features = device.meter.empty(images, device.layers[-1].weight.shape[1])
    np.matmul(at_logits, device.layers[-1].weight, out=at_features)
    if device.stated[-1].reduction == "average":
        np.divide(at_features, height * width, out=at_features)
        gradient.array[:] = at_features.T[:, :, None, None]
    else:
        gradient.array[:] = at_features.reshape(images, channels, height, width).transpose(1, 0, 2, 3)
    return gradient


def _logit_gradient(device: DeviceImageNetwork, features: FloatArray, labels: NDArray[np.int64]) -> FloatArray:
    """Return softmax - one-hot [image, way], the gradient of each image's cross-entropy at the logits."""
    layer = device.layers[-1]
    logits = device.meter.empty(len(labels), len(layer.bias))
    np.matmul(features, layer.weight.T, out=logits)
    for row, label in zip(logits, labels, strict=True):
        np.add(row, layer.bias, out=row)
        np.subtract(row, row.max(), out=row)
        np.exp(row, out=row)
        np.divide(row, np.add.reduce(row), out=row)
        row[label] -= 1
    return logits


def _add_last_layer(device: DeviceImageNetwork, batch: Batch, features: FloatArray, at_logits: FloatArray) -> None:
    biases, weights = (_accumulator(device, batch, -1, kind) for kind in ("bias", "weight"))
    np.add(biases, np.add.reduce(at_logits, axis=0), out=biases)
    row, kept = device.meter.empty(features.shape[1]), device.layers[-1].kept
    targets = weights if kept is None else rows_of(weights, kept)
    for way, (target, of_way) in enumerate(zip(targets, at_logits.T, strict=True)):
        np.matmul(of_way, features, out=row)
        np.add(target, row if kept is None else row[kept[way]], out=target)


def _block_backward(device: DeviceImageNetwork, block: Block, gradient: FeatureMaps, batch: Batch) -> Iterator[int]:
    """Turn the gradient at a block's output into the gradient at its input, in the same buffer."""
    trace = batch.trace
    if block.last in trace.pooled:
        pool_backward(gradient, *trace.sides[block.last], trace.pooled.pop(block.last))
    _activation_backward(device, block.last, gradient, trace)
    beyond = device.first < block.first
    other = None
    if block.shortcut and (beyond or any(device.layers[index].updated for index in block.shortcut)):
        other = gradient.copy() if device.first <= block.units[-1].norm else gradient
        yield from _unit_backward(device, block, block.shortcut, other, beyond, batch)
        if not beyond and other is not gradient:
            other.free()
    for unit in reversed(block.units):
        if unit.norm < device.first:
            return
        if unit.norm != block.last:
            _activation_backward(device, unit.norm, gradient, trace)
        yield from _unit_backward(device, block, unit, gradient, device.first < unit.conv, batch)
    if other is not None and beyond:
        add(gradient, other)


def _activation_backward(device: DeviceImageNetwork, index: int, gradient: FeatureMaps, trace: ImageTrace) -> None:
    layer = device.stated[index]
    if layer.activation:
        slope = layer.slope if layer.activation == "leaky_relu" else 0.0
        pass_activation(gradient.words, trace.bits.pop(index), device.row, slope)


def _unit_backward(
    device: DeviceImageNetwork, block: Block, unit: Unit, gradient: FeatureMaps, beyond: bool, batch: Batch
) -> Iterator[int]:
    """Differentiate a norm and its convolution; ``beyond`` is whether the gradient at their input is needed."""
    conv = device.layers[unit.conv]
    _norm_backward(device, block, unit, gradient, beyond or conv.updated, batch)
    yield unit.norm
    if conv.updated:
        _add_convolution(device, unit.conv, gradient, batch)
    yield unit.conv
    if beyond:
        convolve_backward(gradient, conv.weight)


def _norm_backward(
    device: DeviceImageNetwork, block: Block, unit: Unit, gradient: FeatureMaps, pass_on: bool, batch: Batch
) -> None:
    """Accumulate a norm's gradients; with ``pass_on`` turn g at its output into g at its input."""
    layer, statistics = device.layers[unit.norm], batch.trace.statistics[unit.norm]
    stored = batch.trace.stored.pop(unit.norm, None)
    sums = position_sums(gradient.array, device.meter)
    products = None
    if stored is not None:
        products = position_products(stored.maps.array, gradient.array, stored.channels, device.meter)
        _add_norm(device, unit.norm, stored, sums, products, batch)
    if not pass_on:
        return
    if stored is not None and stored.channels is None and products is not None:
        means = group_means(layer.weight, sums, products, gradient.positions)
        norm_backward(gradient, layer.weight, statistics, means, stored.maps)
        return
    stored = None  # frees its memory for the recomputation
    recomputed = partial(
        normalized_parts,
        conv_input(device, block, unit, batch.trace),
        device.layers[unit.conv].weight,
        statistics,
    )
    means = group_means(layer.weight, sums, part_products(recomputed(), gradient), gradient.positions)
    norm_backward_by_parts(gradient, layer.weight, statistics, means, recomputed())


def _add_norm(
    device: DeviceImageNetwork, index: int, stored: Stored, sums: FloatArray, products: FloatArray, batch: Batch
) -> None:
    """Accumulate gamma_bw * gamma_fw * g(w) and gamma_bw * g(b) from sums over the positions [channel, image]."""
    scored = "backward" in device.layers[index].clips
    backward = batch_scores(device, index, "backward", sums) if scored else None
    biases = _accumulator(device, batch, index, "bias")
    weights = _accumulator(device, batch, index, "weight", stored.channels if batch.alone else None)
    bias_gradient, weight_gradient = np.add.reduce(sums, axis=1), np.add.reduce(products, axis=1)
    if backward is not None:
        bias_gradient *= backward
        weight_gradient *= backward if stored.channels is None else backward[stored.channels]
    if stored.scores is not None:
        weight_gradient *= stored.scores
    np.add(biases, bias_gradient, out=biases)
    if stored.channels is None or batch.alone:
        np.add(weights, weight_gradient, out=weights)
    else:
        weights[stored.channels] += weight_gradient


def _add_convolution(device: DeviceImageNetwork, index: int, gradient: FeatureMaps, batch: Batch) -> None:
    layer, stored = device.layers[index], batch.trace.stored.pop(index)
    scored = "backward" in layer.clips
    backward = batch_scores(device, index, "backward", position_sums(gradient.array, device.meter)) if scored else None
    add_weight_gradient(
        _accumulator(device, batch, index, "weight", stored.channels if batch.alone else None),
        stored.maps.array,
        gradient.array,
        layer.weight,
        device.meter,
        None if batch.alone else stored.channels,
        (stored.scores, backward),
        _kept(layer),
    )


def _accumulator(
    device: DeviceImageNetwork, batch: Batch, index: int, kind: str, channels: Channels | None = None
) -> FloatArray:
    layer = device.layers[index]
    kept = _kept(layer) if kind == "weight" else None
    return accumulator(batch.accumulators, f"{layer.name}.{kind}", device.parameters, device.meter, channels, kept)


def _kept(layer: DeviceLayer) -> Kept | None:
    """Return which weights a layer's accumulator is for: where attention chooses channels, it has all of theirs."""
    return None if layer.chooses_inputs else layer.kept
