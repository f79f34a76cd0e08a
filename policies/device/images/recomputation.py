"""What a device computes again instead of keeping it: the inputs of convolutions, for the normalised inputs after them.

A norm passes a gradient on by its whole normalised input, also where no, or not every, channel of it is kept. It starts
from the nearest convolution whose whole input is kept, or from the images.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from metarl.policies.device.images.blocks import Block, DeviceImageNetwork, ImageTrace, Unit, activate, load
from metarl.policies.device.images.convolution import convolve
from metarl.policies.device.images.feature_maps import Planes, empty_planes, pool, pool_row
from metarl.policies.device.images.norm import NormalisedPart, normalise, normalised_parts, scale_and_shift
from metarl.policies.device.in_place import ActivationBuffer
from metarl.policies.networks.layers import Pooling


def conv_input(
    device: DeviceImageNetwork, block: Block, unit: Unit, trace: ImageTrace, block_input: Planes | None = None
) -> Planes:
    """The input of a unit's convolution, to be left as it is: it may be one that is kept, or ``block_input``."""
    chain = (*block.units[: block.units.index(unit)], unit) if unit in block.units else (unit,)
    for start in reversed(range(len(chain))):
        planes = trace.whole(chain[start].conv)
        if planes is not None:
            break
    else:
        planes = block_input or _block_input(device, block, trace)
    for number, each in enumerate(chain[start:-1]):
        planes = _unit_output(device, each, planes, in_place=number > 0)
        activate(device, planes.buffer, each.norm)
    return planes


def _block_input(device: DeviceImageNetwork, block: Block, trace: ImageTrace) -> Planes:
    for unit in (block.units[0], block.shortcut):
        kept = trace.whole(unit.conv) if unit else None
        if kept is not None:
            return kept
    position = device.blocks.index(block)
    if position == 0:
        return load(trace.images, device.meter)
    return _block_output(device, device.blocks[position - 1], trace)


def _block_output(device: DeviceImageNetwork, block: Block, trace: ImageTrace) -> Planes:
    source, last, pooling = _block_input(device, block, trace), block.units[-1], device.stated[block.last].pooling
    if block.shortcut is None and pooling:
        return _pooled(device, last, source, trace, pooling)
    planes = conv_input(device, block, last, trace, source)
    stays = trace.whole(last.conv) is not None or (planes is source and block.shortcut is not None)
    planes = _unit_output(device, last, planes, in_place=not stays)
    if block.shortcut:
        array = planes.array
        for place, values in _affine_parts(device, block.shortcut, source, trace):
            part = place.of(array)
            np.add(part, values, out=part)
        del array, part
    activate(device, planes.buffer, block.last)
    if pooling:
        pool(planes, pooling, keep=False)
    return planes


def _pooled(device: DeviceImageNetwork, unit: Unit, source: Planes, trace: ImageTrace, pooling: Pooling) -> Planes:
    """The output of a block of one unit: pooled on the way, for before the pooling it is large."""
    _, images, height, width = source.shape
    channels = len(device.layers[unit.norm].weight)
    output = empty_planes(device.meter, (channels, images, height // 2, width // 2))
    for place, values in _affine_parts(device, unit, source, trace):
        activate(device, ActivationBuffer(values.reshape(-1), 1, values.size), unit.norm)
        rows = range(place.rows.start, place.rows.stop)
        for row, of_row in zip(rows, values.reshape(channels, len(rows), -1).swapaxes(0, 1), strict=True):
            pool_row(of_row, row, place.columns.start, output.array[:, place.image], pooling)
    return output


def _unit_output(device: DeviceImageNetwork, unit: Unit, source: Planes, in_place: bool) -> Planes:
    """Before the activation."""
    planes = convolve(source, device.layers[unit.conv].weight, in_place)
    normalise(planes)
    layer = device.layers[unit.norm]
    return scale_and_shift(planes, layer.weight, layer.bias, in_place=True)


def _affine_parts(
    device: DeviceImageNetwork, unit: Unit, source: Planes, trace: ImageTrace
) -> Iterator[NormalisedPart]:
    """A unit's output before the activation, a few positions at a time."""
    conv, layer = device.layers[unit.conv], device.layers[unit.norm]
    for part in normalised_parts(source, conv.weight, trace.statistics[unit.norm]):
        np.multiply(part.values, layer.weight[:, None], out=part.values)
        np.add(part.values, layer.bias[:, None], out=part.values)
        yield part
