"""Image networks as a device runs them: blocks of convolutions with their norms, and their forward pass."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from metarl.core.errors import Refusal
from metarl.policies.device.accumulators import Channels
from metarl.policies.device.images.convolution import convolve
from metarl.policies.device.images.feature_maps import FeatureMaps, empty_feature_maps, pool
from metarl.policies.device.images.norm import Statistics, normalize, position_sums, scale_and_shift
from metarl.policies.device.in_place import Bits, FloatArray, block_bits, bytes_of_bits, leak, rectify
from metarl.policies.device.meter import Meter
from metarl.policies.device.network import DeviceLayer, device_layers
from metarl.policies.device.scores import score_channels
from metarl.policies.methods import Method, check_on_device
from metarl.policies.networks.layers import Layer
from metarl.policies.networks.network import ImageNetwork, Parameters

_FLAGS = 1024  # words of working memory for the flags of an activation


class Unit(NamedTuple):
    """The indices of a convolution and of the norm after it."""

    conv: int
    norm: int


@dataclass(frozen=True)
class Block:
    """Units one after the other, each with its activation; then the block's pooling.

    A ``shortcut`` takes the block's input, too, and is added to the last unit's output before the last activation.
    """

    units: tuple[Unit, ...]
    shortcut: Unit | None

    @property
    def first(self) -> int:
        """The index of the first layer."""
        return self.units[0].conv

    @property
    def last(self) -> int:
        """The index of the last layer, which states the block's last activation and its pooling."""
        return (self.shortcut or self.units[-1]).norm


@dataclass(frozen=True)
class DeviceImageNetwork:
    """The layers in their order, as the network states them and as the step updates them, and the memory they share."""

    stated: tuple[Layer, ...]
    layers: tuple[DeviceLayer, ...]
    blocks: tuple[Block, ...]
    parameters: Parameters  # the network's and those of the attention modules
    row: FloatArray  # working memory for the flags of an activation
    meter: Meter

    @property
    def first(self) -> int:
        """The index of the first updated layer, where the backward pass ends; the number of layers without any."""
        return next((index for index, layer in enumerate(self.layers) if layer.updated), len(self.layers))


class Stored(NamedTuple):
    """A layer's input, or the channels of it that attention keeps, for its weight gradient."""

    maps: FeatureMaps
    channels: Channels | None  # the kept channels; None: all
    scores: FloatArray | None  # their gamma; None: 1


@dataclass(frozen=True)
class ImageTrace:
    """What the forward pass of a batch keeps for the backward pass, by the index of the layer.

    The images are storage, not working memory: the batch in work is copied from them.
    """

    images: FloatArray  # [image, 3, side, side]
    stored: dict[int, Stored] = field(default_factory=dict)
    statistics: dict[int, Statistics] = field(default_factory=dict)  # of every norm
    bits: dict[int, Bits] = field(default_factory=dict)  # of the activation after the layer
    pooled: dict[int, Bits | None] = field(default_factory=dict)  # of the pooling after the layer
    sides: dict[int, tuple[int, int]] = field(default_factory=dict)  # height and width before that pooling

    def whole(self, index: int) -> FeatureMaps | None:
        """Return the layer's input if all of it is kept."""
        stored = self.stored.get(index)
        return stored.maps if stored and stored.channels is None else None


def device_image_network(
    network: ImageNetwork, parameters: Parameters, method: Method, step: int, meter: Meter
) -> DeviceImageNetwork:
    """Return a network with what a method does to it in one inner step; weights are shared, not copied.

    Raise ValueError for what a device does not run.

    Args:
        network: the network.
        parameters: its parameters, step sizes and attention modules.
        method: the method.
        step: the inner step, from 0.
        meter: the source of memory.

    Returns:
        The network as the device runs it.
    """
    if network.norm != "group":
        raise Refusal("a device adapts networks with group norm, for batch norm needs all images at once")
    check_on_device(method)
    blocks = blocks_of(network.layers)
    layers = device_layers(network, parameters, method, step)
    return DeviceImageNetwork(network.layers, layers, blocks, parameters, meter.empty(_FLAGS), meter)


def blocks_of(layers: tuple[Layer, ...]) -> tuple[Block, ...]:
    """Return the blocks of a network's layers: each residual block, and each unit outside of residual blocks.

    A device runs units of a convolution and its group norm, and one linear layer after them. Pooling ends a block; a
    shortcut is one unit. Raise ValueError for other layers.
    """
    blocks: list[Block] = []
    units: list[Unit] = []  # of the residual block that has begun
    for index in range(0, len(layers) - 1, 2):
        conv, norm = layers[index : index + 2]
        if (conv.kind, norm.kind) != ("convolution", "group_norm") or conv.activation or conv.pooling:
            raise Refusal(f"a device runs convolutions that a group norm follows, but not {conv.name}, {norm.name}")
        unit, roles = Unit(index, index + 1), (conv.residual, norm.residual)
        if roles == ("shortcut", "join") and units:
            blocks.append(Block(tuple(units), unit))
            units = []
        elif roles not in ((None, None), ("fork", None)) or (units and conv.residual):
            raise Refusal(f"a device runs shortcuts of one convolution, but not the branches at {conv.name}")
        elif not units and not conv.residual:
            blocks.append(Block((unit,), None))
        elif norm.pooling:
            raise Refusal(f"a device pools at the end of a residual block, but not after {norm.name}")
        else:
            units.append(unit)
    if units or layers[-1].kind != "linear":
        raise Refusal(f"a device runs one linear layer after all blocks, but not {layers[-1].name}")
    return tuple(blocks)


def load(images: FloatArray, meter: Meter) -> FeatureMaps:
    """Copy images [image, channel, height, width] into a buffer, as the first layer's input."""
    number, channels, height, width = images.shape
    maps = empty_feature_maps(meter, (channels, number, height, width))
    for target, channel in zip(maps.array, range(channels), strict=True):
        target[:] = images[:, channel]
    return maps


def forward(device: DeviceImageNetwork, trace: ImageTrace) -> FeatureMaps:
    """Run the forward pass and return the last block's output; ``trace`` holds what is kept of it."""
    maps = load(trace.images, device.meter)
    for block in device.blocks:
        maps = _forward_block(device, block, maps, trace)
    return maps


def _forward_block(device: DeviceImageNetwork, block: Block, maps: FeatureMaps, trace: ImageTrace) -> FeatureMaps:
    source = maps
    for unit in block.units:
        stays = _keep(device, unit.conv, maps, trace) or (maps is source and block.shortcut is not None)
        maps = convolve(maps, device.layers[unit.conv].weight, in_place=not stays)
        maps = _forward_norm(device, unit.norm, maps, trace)
        if unit.norm != block.last:
            activate(device, maps.words, unit.norm, trace)
    if block.shortcut:
        stays = _keep(device, block.shortcut.conv, source, trace) or trace.whole(block.first) is source
        other = convolve(source, device.layers[block.shortcut.conv].weight, in_place=not stays)
        other = _forward_norm(device, block.shortcut.norm, other, trace)
        add(maps, other)
        other.free()
    activate(device, maps.words, block.last, trace)
    pooling = device.stated[block.last].pooling
    if pooling:
        trace.sides[block.last] = maps.shape[2:]
        trace.pooled[block.last] = pool(maps, pooling, keep=block.last >= device.first)
    return maps


def _forward_norm(device: DeviceImageNetwork, index: int, maps: FeatureMaps, trace: ImageTrace) -> FeatureMaps:
    layer = device.layers[index]
    trace.statistics[index] = normalize(maps)
    stays = _keep(device, index, maps, trace)
    return scale_and_shift(maps, layer.weight, layer.bias, in_place=not stays)


def _keep(device: DeviceImageNetwork, index: int, maps: FeatureMaps, trace: ImageTrace) -> bool:
    """Keep what a layer's weight gradient needs of its input; return whether the feature maps themselves must stay."""
    layer = device.layers[index]
    if not layer.updated:
        return False
    scores = None
    if layer.chooses_inputs:
        sums = position_sums(maps.array, device.meter)
        np.divide(sums, maps.positions, out=sums)
        scores = batch_scores(device, index, "forward", sums)
        channels = device.meter.count(np.array(np.flatnonzero(scores)))
        if len(channels) < len(scores):
            kept = empty_feature_maps(device.meter, (len(channels), *maps.shape[1:]))
            for target, channel in zip(kept.array, channels, strict=True):
                target[:] = maps.array[channel]
            trace.stored[index] = Stored(kept, channels, device.meter.count(scores[channels]))
            return False
    trace.stored[index] = Stored(maps, None, scores)
    return True


def batch_scores(device: DeviceImageNetwork, index: int, side: str, summary: FloatArray) -> FloatArray:
    """Return the scores gamma [channel] that the images of a batch share.

    Args:
        device: the network.
        index: the layer's index.
        side: ``forward`` or ``backward``.
        summary: the means or sums over the positions [channel, image] that the attention module takes.

    Returns:
        The scores [channel].
    """
    by_image = device.meter.empty(summary.shape[1], summary.shape[0])
    by_image[:] = summary.T
    score_channels(device.layers[index], device.parameters, side, by_image, device.meter)
    return device.meter.count(by_image[0].copy())


def activate(device: DeviceImageNetwork, words: FloatArray, index: int, trace: ImageTrace | None = None) -> None:
    """Apply the activation after a norm in place; with a ``trace``, keep its bits from the first updated layer on.

    Args:
        device: the network.
        words: the norm's output as one row.
        index: the norm's index.
        trace: what the backward pass needs; None in a recomputation, which keeps nothing.
    """
    layer = device.stated[index]
    if layer.activation is None:
        return
    if trace is not None and index >= device.first:
        bits = device.meter.count(np.empty(bytes_of_bits(len(words)), np.uint8))
        block_bits(words, bits, device.row)
        trace.bits[index] = bits
    if layer.activation == "leaky_relu":
        leak(words, layer.slope, device.row)
    else:
        rectify(words)


def add(maps: FeatureMaps, other: FeatureMaps) -> None:
    """Add the second tensor to the first, in place."""
    np.add(maps.words, other.words, out=maps.words)
