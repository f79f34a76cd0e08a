"""Image networks as a device runs them: blocks of convolutions with their norms, forward in the least memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from metarl.policies.device.accumulators import Channels
from metarl.policies.device.images.convolution import convolve
from metarl.policies.device.images.feature_maps import Planes, empty_planes, pool
from metarl.policies.device.images.norm import Statistics, normalise, plane_sums, scale_and_shift
from metarl.policies.device.in_place import ActivationBuffer, Bits, FloatArray, blocked_bits, leak, rectify
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
    """Units one after the other, with activations between them; then the activation and the pooling.

    A ``shortcut`` takes the block's input, too, and adds to the last unit's output.
    """

    units: tuple[Unit, ...]
    shortcut: Unit | None

    @property
    def first(self) -> int:
        """The index of the first layer."""
        return self.units[0].conv

    @property
    def last(self) -> int:
        """The index of the last layer, by which the block's activation and pooling are known."""
        return (self.shortcut or self.units[-1]).norm


@dataclass(frozen=True)
class DeviceImageNetwork:
    """The layers in their order, the last one fully connected, and the memory that all of them work in."""

    stated: tuple[Layer, ...]
    layers: tuple[DeviceLayer, ...]
    blocks: tuple[Block, ...]
    parameters: Parameters  # all of them, among them those of the attention modules
    row: FloatArray
    meter: Meter

    @property
    def first(self) -> int:
        """The index of the first updated layer, where the way back ends; the number of layers if none is."""
        return next((index for index, layer in enumerate(self.layers) if layer.updated), len(self.layers))


class Stored(NamedTuple):
    """A layer's input as it is kept for its weight gradient, or the channels that attention keeps of it."""

    planes: Planes
    channels: Channels | None  # those kept, None: all
    scores: FloatArray | None  # gamma of those kept, None: 1


@dataclass(frozen=True)
class ImageTrace:
    """What the forward pass of a batch leaves for the way back, by the index of the layer.

    The images are not the device's working memory: a batch in work is copied from them.
    """

    images: FloatArray  # [image, 3, side, side]
    stored: dict[int, Stored] = field(default_factory=dict)
    statistics: dict[int, Statistics] = field(default_factory=dict)  # of every norm
    bits: dict[int, Bits] = field(default_factory=dict)  # of the activation after the layer
    pooled: dict[int, Bits | None] = field(default_factory=dict)  # of the pooling after the layer
    sides: dict[int, tuple[int, int]] = field(default_factory=dict)  # height and width before that pooling

    def whole(self, index: int) -> Planes | None:
        """The layer's input if all of it is kept."""
        stored = self.stored.get(index)
        return stored.planes if stored and stored.channels is None else None


def device_image_network(
    network: ImageNetwork, parameters: Parameters, method: Method, step: int, meter: Meter
) -> DeviceImageNetwork:
    """The network with what the method does to it in inner step ``step``; weights are shared, not copied.

    ValueError names what a device does not run.
    """
    if network.norm != "group":
        raise ValueError("a device adapts networks with group norm, for batch norm needs all images at once")
    check_on_device(method)
    blocks = blocks_of(network.layers)
    layers = device_layers(network, parameters, method, step)
    return DeviceImageNetwork(network.layers, layers, blocks, parameters, meter.empty(_FLAGS), meter)


def blocks_of(layers: tuple[Layer, ...]) -> tuple[Block, ...]:
    """Return the blocks of a network's layers: each residual block is one, and so is any other unit.

    Raise ValueError for layers that a device does not run: it takes units of a convolution and its group norm, pooled
    where a block ends alone, and then one linear layer.
    """
    blocks: list[Block] = []
    units: list[Unit] = []
    inside = False  # a residual block
    for index in range(0, len(layers) - 1, 2):
        conv, norm = layers[index : index + 2]
        if (conv.kind, norm.kind) != ("convolution", "group_norm") or conv.activation or conv.pooling:
            raise ValueError(f"a device runs convolutions that a group norm follows, but not {conv.name}, {norm.name}")
        unit, inside = Unit(index, index + 1), inside or conv.residual == "fork"
        if norm.residual == "join":
            if conv.residual != "shortcut":
                raise ValueError(f"a device runs shortcuts of one convolution, but not the one up to {norm.name}")
            blocks.append(Block(tuple(units), unit))
            units, inside = [], False
        elif inside:
            if norm.pooling:
                raise ValueError(f"a device pools at the end of a residual block, but not after {norm.name}")
            units.append(unit)
        else:
            blocks.append(Block((unit,), None))
    if units or layers[-1].kind != "linear":
        raise ValueError(f"a device runs one linear layer after all blocks, but not {layers[-1].name}")
    return tuple(blocks)


def load(images: FloatArray, meter: Meter) -> Planes:
    """The images in memory of their own, as the first layer's input."""
    number, channels, height, width = images.shape
    planes = empty_planes(meter, (channels, number, height, width))
    for target, channel in zip(planes.array, range(channels), strict=True):
        target[:] = images[:, channel]
    return planes


def forward(device: DeviceImageNetwork, trace: ImageTrace) -> Planes:
    """The last block's output."""
    planes = load(trace.images, device.meter)
    for block in device.blocks:
        planes = _forward_block(device, block, planes, trace)
    return planes


def _forward_block(device: DeviceImageNetwork, block: Block, planes: Planes, trace: ImageTrace) -> Planes:
    source = planes
    for unit in block.units:
        stays = _keep(device, unit.conv, planes, trace) or (planes is source and block.shortcut is not None)
        planes = convolve(planes, device.layers[unit.conv].weight, in_place=not stays)
        planes = _forward_norm(device, unit.norm, planes, trace)
        if unit is not block.units[-1]:
            activate(device, planes.buffer, unit.norm, trace)
    if block.shortcut:
        stays = _keep(device, block.shortcut.conv, source, trace) or trace.whole(block.first) is source
        other = convolve(source, device.layers[block.shortcut.conv].weight, in_place=not stays)
        other = _forward_norm(device, block.shortcut.norm, other, trace)
        add(planes, other)
        other.free()
    activate(device, planes.buffer, block.last, trace)
    pooling = device.stated[block.last].pooling
    if pooling:
        trace.sides[block.last] = planes.shape[2:]
        trace.pooled[block.last] = pool(planes, pooling, keep=block.last >= device.first)
    return planes


def _forward_norm(device: DeviceImageNetwork, index: int, planes: Planes, trace: ImageTrace) -> Planes:
    layer = device.layers[index]
    trace.statistics[index] = normalise(planes)
    stays = _keep(device, index, planes, trace)
    return scale_and_shift(planes, layer.weight, layer.bias, in_place=not stays)


def _keep(device: DeviceImageNetwork, index: int, planes: Planes, trace: ImageTrace) -> bool:
    """Keeps what the layer's weight gradient needs of its input; whether the planes themselves have to stay for it."""
    layer = device.layers[index]
    if not layer.updated:
        return False
    scores = None
    if layer.chooses_inputs:
        sums = plane_sums(planes.array, device.meter)
        np.divide(sums, planes.positions, out=sums)
        scores = batch_scores(device, index, "forward", sums)
        channels = device.meter.count(np.array(np.flatnonzero(scores)))
        if len(channels) < len(scores):
            kept = empty_planes(device.meter, (len(channels), *planes.shape[1:]))
            for target, channel in zip(kept.array, channels, strict=True):
                target[:] = planes.array[channel]
            trace.stored[index] = Stored(kept, channels, device.meter.count(scores[channels]))
            return False
    trace.stored[index] = Stored(planes, None, scores)
    return True


def batch_scores(device: DeviceImageNetwork, index: int, side: str, summary: FloatArray) -> FloatArray:
    """gamma [channel], shared by the batch, from what attention sees of its images [channel, image]."""
    by_image = device.meter.empty(summary.shape[1], summary.shape[0])
    by_image[:] = summary.T
    score_channels(device.layers[index], device.parameters, side, by_image, device.meter)
    return device.meter.count(by_image[0].copy())


def activate(device: DeviceImageNetwork, buffer: ActivationBuffer, index: int, trace: ImageTrace | None = None) -> None:
    """Apply the activation after a norm; its bits stay in ``trace`` from the first updated layer on."""
    layer = device.stated[index]
    if layer.activation is None:
        return
    if trace is not None and index >= device.first:
        trace.bits[index] = blocked_bits(buffer, device.row, device.meter)
    if layer.activation == "leaky_relu":
        leak(buffer, layer.slope, device.row)
    else:
        rectify(buffer)


def add(planes: Planes, other: Planes) -> None:
    """The sum, in the memory of the first."""
    np.add(planes.buffer.words, other.buffer.words, out=planes.buffer.words)
