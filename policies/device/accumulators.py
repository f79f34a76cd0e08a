"""The accumulators of a step of an image network: the gradients of the updated parameters, summed over batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from metarl.policies.device.in_place import FloatArray
from metarl.policies.device.meter import Meter
from metarl.policies.device.network import DeviceLayer
from metarl.policies.networks.network import Parameters, layer_of

Channels = NDArray[np.intp]
Kept = NDArray[np.bool_]  # which numbers of a weight are not pruned, of its shape


class Accumulator(NamedTuple):
    """A parameter's gradients, added up in the unit of one sample."""

    total: FloatArray
    channels: Channels | None  # the input channels it is for, where only one batch is added up; None: all
    kept: Kept | None = None  # which numbers of a pruned weight it is for: its total is a row of these; None: all


Accumulators = dict[str, Accumulator]  # by the name of the parameter


def accumulator(
    accumulators: Accumulators,
    name: str,
    parameters: Mapping[str, torch.Tensor],
    meter: Meter,
    channels: Channels | None = None,
    kept: Kept | None = None,
) -> FloatArray:
    """Return a parameter's accumulator, which starts at zero.

    A vector's channels are its numbers, those of other parameters their second axis. That of a pruned weight is a row
    of its kept numbers.

    Args:
        accumulators: All accumulators, to which a new one is added.
        name: The parameter's name.
        parameters: The parameters, for their shapes.
        meter: Measures the memory.
        channels: The input channels that a new accumulator is for; None for all.
        kept: The numbers of a pruned weight that a new accumulator is for; None for all.
    """
    if name not in accumulators:
        shape = list(parameters[name].shape) if kept is None else [int(kept.sum())]
        if channels is not None:
            shape[min(1, len(shape) - 1)] = len(channels)
        accumulators[name] = Accumulator(meter.zeros(*shape), channels, kept)
    return accumulators[name].total


def rows_of(total: FloatArray, kept: Kept) -> list[FloatArray]:
    """Return the part of each output in a row of kept numbers, as views."""
    counts = [int(np.count_nonzero(each)) for each in kept]
    return np.split(total, np.cumsum(counts[:-1]))


def updated_layer(
    accumulators: Accumulators, layer: str, step_size: float, parameters: Parameters, meter: Meter
) -> Parameters:
    """Return a layer's new parameters, which replace the old ones, and remove its accumulators.

    Args:
        accumulators: All accumulators.
        layer: The layer's name.
        step_size: alpha by the number of samples.
        parameters: The parameters before the step.
        meter: Measures the memory.
    """
    updated: Parameters = {}
    for name in [name for name in accumulators if layer_of(name) == layer]:
        total, channels, kept = accumulators.pop(name)
        np.multiply(total, step_size, out=total)
        new = parameters[name].detach().numpy()
        if kept is not None:
            new = new.copy()
            new[kept] -= total
        elif channels is None:
            new = np.subtract(new, total, out=total)
            meter.hand_over(new)
        else:
            new = new.copy()
            if new.ndim == 1:
                new[channels] -= total
            else:
                for row, subtracted in zip(new, total, strict=True):
                    row[channels] -= subtracted
        updated[name] = torch.from_numpy(new)
    return updated


def updated_context(
    accumulators: Accumulators, layer: DeviceLayer, step_size: float, parameters: Parameters, meter: Meter
) -> Parameters:
    """Return a layer's new context phi, and remove the accumulators of the vectors that it modulates.

    Args:
        accumulators: All accumulators.
        layer: The layer, with the matrix C [vector * output, context]: the gradient of phi is C^T times theirs.
        step_size: alpha by the number of samples.
        parameters: The parameters before the step.
        meter: Measures the memory.
    """
    gradient, product = meter.zeros(layer.stated.context), meter.empty(layer.stated.context)
    matrices = np.split(layer.context_weight, len(layer.stated.vectors))
    for name, matrix in zip(layer.stated.vectors, matrices, strict=True):
        np.add(gradient, np.matmul(accumulators.pop(name).total, matrix, out=product), out=gradient)
    name = layer.stated.context_name
    np.multiply(gradient, step_size, out=gradient)
    return {name: torch.from_numpy(parameters[name].detach().numpy() - gradient)}
