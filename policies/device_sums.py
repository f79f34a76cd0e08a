"""The accumulators of a step on a device: the gradients of the updated parameters, summed over its batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from metarl.policies.in_place import FloatArray
from metarl.policies.meter import Meter
from metarl.policies.network import Parameters, layer_of

Channels = NDArray[np.intp]


class Sum(NamedTuple):
    """A parameter's gradients, added up in the unit of one sample."""

    total: FloatArray
    channels: Channels | None  # the input channels it is for, where only one batch is added up; None: all


Sums = dict[str, Sum]  # by the name of the parameter


def sum_of(
    sums: Sums, name: str, parameters: Mapping[str, torch.Tensor], meter: Meter, channels: Channels | None = None
) -> FloatArray:
    """The parameter's sum so far; zeros, for all input channels or for ``channels``, if there is none yet.

    A vector's channels are its numbers, those of other parameters their second axis.
    """
    if name not in sums:
        shape = list(parameters[name].shape)
        if channels is not None:
            shape[min(1, len(shape) - 1)] = len(channels)
        sums[name] = Sum(meter.zeros(*shape), channels)
    return sums[name].total


def updated_layer(sums: Sums, layer: str, step_size: float, parameters: Parameters, meter: Meter) -> Parameters:
    """The layer's new parameters, which take the place of the old ones; its sums are gone."""
    updated: Parameters = {}
    for name in [name for name in sums if layer_of(name) == layer]:
        total, channels = sums.pop(name)
        np.multiply(total, step_size, out=total)
        new = parameters[name].detach().numpy()
        if channels is None:
            new = np.subtract(new, total, out=total)
            meter.hand_over(new)
        else:
            new = new.copy()
            if new.ndim == 1:
                new[channels] -= total
            else:
                for row, change in zip(new, total, strict=True):
                    row[channels] -= change
        updated[name] = torch.from_numpy(new)
    return updated
