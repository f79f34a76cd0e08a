"""Kernels of layers whose weights are binary bases: the gradients of coordinates, and the coordinates' change.

A row's coordinate has the gradient delta_o (beta . x), summed over time steps: a product with signs, then one
multiplication for each coordinate. A column's has x_j (beta . delta). No gradient of a weight is ever in memory.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from metarl.policies.device.in_place import FloatArray
from metarl.policies.device.network import DeviceLayer
from metarl.policies.device.run import Run


def add_coordinate_gradient(
    run: Run,
    layer: DeviceLayer,
    inputs: FloatArray,
    gradient: FloatArray,
    input_scores: FloatArray | None,
    output_scores: FloatArray | None,
    total: FloatArray,
    row: FloatArray,
    weighed: FloatArray | None,
) -> None:
    """Add the gradients of a layer's coordinates, time step by time step.

    Args:
        run: The time steps in work.
        layer: The layer, which says its signs and which coordinates there are.
        inputs: x_{l-1} [row, input].
        gradient: g(y_l) [row, output].
        input_scores: The scores [input] of the input channels; None weighs nothing.
        output_scores: The scores [output] of the output channels; None weighs nothing.
        total: The accumulators [coordinate], basis by basis.
        row: Working memory for one number per group, or more.
        weighed: Working memory for one time step of the tensor that signs are multiplied with, if it is weighed.
    """
    bases = layer.bases
    assert bases is not None
    begins = np.cumsum([0, *(np.count_nonzero(each) for each in bases.present)])
    with_signs, beside = (inputs, gradient) if bases.by_output else (gradient, inputs)
    scores, other = (input_scores, output_scores) if bases.by_output else (output_scores, input_scores)
    for vector, factor in zip(with_signs, beside, strict=True):
        seen = vector if scores is None or weighed is None else np.multiply(vector, scores, out=weighed[: len(vector)])
        for basis, present in enumerate(bases.present):
            codes = bases.codes[basis] if bases.by_output else bases.codes[basis].T
            products = np.multiply(np.matmul(codes, seen, out=row[: len(codes)]), factor, out=row[: len(codes)])
            if other is not None:
                np.multiply(products, other, out=products)
            target = total[begins[basis] : begins[basis + 1]]
            if len(present) == len(products):
                target += products[present]
            else:  # one group holds all outputs
                target += products.sum()


def update_coordinates(run: Run, layer: DeviceLayer, total: FloatArray, step_size: float) -> None:
    """Turn accumulators [coordinate] into the change of a layer's coordinates; the signs stay.

    Args:
        run: The number of time steps.
        layer: The layer, which says which coordinates there are.
        total: The accumulators, which become the change.
        step_size: alpha of the layer, not a coordinate.
    """
    bases = layer.bases
    assert bases is not None
    change = np.multiply(total, -step_size * run.gate / run.steps, out=total)
    alphas = run.adapted[bases.alphas_name]
    alphas.reshape(bases.present.shape)[bases.present] += change


COORDINATE_KERNELS: dict[str, Callable[..., None]] = {
    kernel.__name__: kernel for kernel in (add_coordinate_gradient, update_coordinates)
}
