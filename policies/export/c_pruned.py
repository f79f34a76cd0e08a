"""Pruned layers in C: the kept weights, input by input, each with the number of its output.

A byte for each kept weight takes less than a bit for each weight where fewer than one of eight is kept, and products
need not search for the kept ones. Outputs are counted within parts of 256, so that a byte does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metarl.policies.device.in_place import FloatArray
from metarl.policies.device.network import DeviceLayer

PART = 256  # outputs that a byte tells apart


def kept_values(layer: DeviceLayer, weight: FloatArray) -> FloatArray:
    """Return the kept numbers [kept weight] of a layer's weight [output, input]; all of a dense layer as they are."""
    return weight if layer.kept is None else _some(weight.T[layer.kept.T])


def kept_tables(layer: DeviceLayer) -> dict[str, NDArray[np.uint16] | NDArray[np.uint8]]:
    """Return the tables that say which weights of a pruned layer are kept, by name; none of a dense layer.

    They are the counts uint16 [input * part] and the outputs uint8 [kept weight], counted from the first of its part.
    """
    if layer.kept is None:
        return {}
    inputs, outputs = np.nonzero(layer.kept.T)
    parts = -(-layer.stated.outputs // PART)
    counts = np.bincount(inputs * parts + outputs // PART, minlength=layer.stated.inputs * parts)
    return {
        f"{layer.name}.kept_counts": counts.astype(np.uint16),
        f"{layer.name}.kept_outputs": _some((outputs % PART).astype(np.uint8)),
    }


def _some(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array with at least one number, for C has no empty ones."""
    return array if array.size else np.zeros(1, array.dtype)
