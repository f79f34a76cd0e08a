"""The accumulators of a step on a device: the gradients of the updated parameters, summed over its batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from metarl.policies.device.in_place import FloatArray
from metarl.policies.device.meter import Meter
from metarl.policies.networks.network import Parameters, layer_of

Channels = NDArray[np.intp]


class Accumulator(NamedTuple):
    """A parameter's gradients, added up in the unit of one sample."""

    total: FloatArray
    channels: Channels | None  # the input channels it is for, where only one batch is added up; None: all


class KeptAccumulator(NamedTuple):
    """The same for the weights of a fully-connected layer, of those input channels alone that some batch has kept."""

    total: FloatArray  # [place, output] in one row, so that it grows in place
    places: NDArray[np.int32]  # of every input channel; those that were never kept are at -1


Accumulators = dict[str, Accumulator | KeptAccumulator]  # by the name of the parameter


def accumulator(
    accumulators: Accumulators,
    name: str,
    parameters: Mapping[str, torch.Tensor],
    meter: Meter,
    channels: Channels | None = None,
) -> FloatArray:
    """The parameter's sum so far; zeros, for all input channels or for ``channels``, if there is none yet.

    A vector's channels are its numbers, those of other parameters their second axis.
    """
    if name not in accumulators:
        shape = list(parameters[name].shape)
        if channels is not None:
            shape[min(1, len(shape) - 1)] = len(channels)
        accumulators[name] = Accumulator(meter.zeros(*shape), channels)
    return accumulators[name].total


def kept_rows(
    accumulators: Accumulators, name: str, channels: Channels, parameters: Mapping[str, torch.Tensor], meter: Meter
) -> Iterator[FloatArray]:
    """The weights' sum so far [output] for each of ``channels``; those that no batch has kept before start at zero."""
    outputs, inputs = parameters[name].shape
    if name not in accumulators:
        accumulators[name] = KeptAccumulator(meter.empty(0), meter.count(np.full(inputs, -1, np.int32)))
    kept = accumulators[name]
    assert isinstance(kept, KeptAccumulator)
    total, places = kept
    known = count = len(total) // outputs
    for channel in channels:
        if places[channel] < 0:
            places[channel] = count
            count += 1
    if count > known:
        meter.resize(total, count * outputs)
        total[known * outputs :] = 0
    for channel in channels:
        start = int(places[channel]) * outputs
        yield total[start : start + outputs]


def updated_layer(
    accumulators: Accumulators, layer: str, step_size: float, parameters: Parameters, meter: Meter
) -> Parameters:
    """The layer's new parameters, which take the place of the old ones; its accumulators are gone.

    Weights with a ``KeptAccumulator`` are changed where they stand.
    """
    updated: Parameters = {}
    for name in [name for name in accumulators if layer_of(name) == layer]:
        change = accumulators.pop(name)
        total = change.total
        np.multiply(total, step_size, out=total)
        new = parameters[name].detach().numpy()
        if isinstance(change, KeptAccumulator):
            rows = total.reshape(-1, len(new))
            for channel, place in enumerate(change.places):
                if place >= 0:
                    new[:, channel] -= rows[place]
        elif change.channels is None:
            new = np.subtract(new, total, out=total)
            meter.hand_over(new)
        else:
            new = new.copy()
            if new.ndim == 1:
                new[change.channels] -= total
            else:
                for row, subtracted in zip(new, total, strict=True):
                    row[change.channels] -= subtracted
        updated[name] = torch.from_numpy(new)
    return updated
