"""Recomputation: the inputs of convolutions that a device does not keep, for the normalized inputs after them.

A norm's backward pass needs its whole normalized input, also where none or only some of its channels are kept.
Recomputation starts from the nearest convolution whose whole input is kept, or from the images.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from metarl.policies.device.images.blocks import Block, DeviceImageNetwork, ImageTrace, Unit, activate, load
from metarl.policies.device.images.convolution import convolve
from metarl.policies.device.images.feature_maps import FeatureMaps, empty_feature_maps, pool, pool_row
from metarl.policies.device.images.norm import NormalizedPart, normalize, normalized_parts, scale_and_shift
from metarl.policies.networks.layers import Pooling


def conv_input(
    device: DeviceImageNetwork, block: Block, unit: Unit, trace: ImageTrace, block_input: FeatureMaps | None = None
) -> FeatureMaps:
    """Return the input of a unit's convolution, which must not be changed: it may be kept, or be ``block_input``.

    Args:
        device: the network.
        block: the block of the unit.
        unit: one of its units, or its shortcut.
        trace: what the forward pass has kept.
        block_input: the block's input where it is at hand; otherwise it is recomputed if it is not kept.

    Returns:
        The input.
    """
    chain = (*block.units[: block.units.index(unit)], unit) if unit in block.units else (unit,)
    for start in reversed(range(len(chain))):
        maps = trace.whole(chain[start].conv)
        if maps is not None:
            break
    else:
        maps = block_input or _block_input(device, block, trace)
    for number, each in enumerate(chain[start:-1]):
        maps = _unit_output(device, each, maps, in_place=number > 0)
        activate(device, maps.words, each.norm)
    return maps


def _block_input(device: DeviceImageNetwork, block: Block, trace: ImageTrace) -> FeatureMaps:
    for unit in (block.units[0], block.shortcut):
        kept = trace.whole(unit.conv) if unit else None
        if kept is not None:
            return kept
    position = device.blocks.index(block)
    if position == 0:
        return load(trace.images, device.meter)
    return _block_output(device, device.blocks[position - 1], trace)


def _block_output(device: DeviceImageNetwork, block: Block, trace: ImageTrace) -> FeatureMaps:
    source, last, pooling = _block_input(device, block, trace), block.units[-1], device.stated[block.last].pooling
    if block.shortcut is None and pooling:
        return _pooled(device, last, source, trace, pooling)
    maps = conv_input(device, block, last, trace, source)
    stays = trace.whole(last.conv) is not None or (maps is source and block.shortcut is not None)
    maps = _unit_output(device, last, maps, in_place=not stays)
    if block.shortcut:
        activate(device, maps.words, last.norm)
        array = maps.array
        for place, values in _affine_parts(device, block.shortcut, source, trace):
            part = place.of(array)
            np.add(part, values, out=part)
        del array, part
    activate(device, maps.words, block.last)
    if pooling:
        pool(maps, pooling, keep=False)
    return maps


def _pooled(
    device: DeviceImageNetwork, unit: Unit, source: FeatureMaps, trace: ImageTrace, pooling: Pooling
) -> FeatureMaps:
    """Return the output of a block of one unit, pooled part by part: before the pooling it would be large."""
    _, images, height, width = source.shape
    channels = len(device.layers[unit.norm].weight)
    output = empty_feature_maps(device.meter, (channels, images, height // 2, width // 2))
    for place, values in _affine_parts(device, unit, source, trace):
        activate(device, values.reshape(-1), unit.norm)
        rows = range(place.rows.start, place.rows.stop)
        for row, of_row in zip(rows, values.reshape(channels, len(rows), -1).swapaxes(0, 1), strict=True):
            pool_row(of_row, row, place.columns.start, output.array[:, place.image], pooling)
    return output


def _unit_output(device: DeviceImageNetwork, unit: Unit, source: FeatureMaps, in_place: bool) -> FeatureMaps:
    """Return a unit's output before the activation."""
    maps = convolve(source, device.layers[unit.conv].weight, in_place)
    normalize(maps)
    layer = device.layers[unit.norm]
    return scale_and_shift(maps, layer.weight, layer.bias, in_place=True)


def _affine_parts(
    device: DeviceImageNetwork, unit: Unit, source: FeatureMaps, trace: ImageTrace
) -> Iterator[NormalizedPart]:
    """Yield a unit's output before the activation, a few positions at a time."""
    conv, layer = device.layers[unit.conv], device.layers[unit.norm]
    for part in normalized_parts(source, conv.weight, trace.statistics[unit.norm]):
        np.multiply(part.values, layer.weight[:, None], out=part.values)
        np.add(part.values, layer.bias[:, None], out=part.values)
        yield part
