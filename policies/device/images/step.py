"""One inner step of an image network on a device: the training's step in megabytes (p-Meta, Sec. 3.2, 3.3 and 3.5).

Images are processed one by one, or a few at a time, and their gradients accumulated. The forward pass keeps the inputs
of only those layers whose step size is not zero (of group norms the normalized inputs), and of these inputs only the
channels that attention scores above zero; besides one bit per (leaky) ReLU and two bits per maximum of a pooling. The
backward pass ends at the first updated layer. All else shares one activation buffer (``feature_maps``).

A norm's backward pass needs its whole normalized input. If it is not kept, it is recomputed from the images or the
nearest input that is kept (``recomputation``): more operations for the memory of p-Meta's model. The images, like the
weights, are storage and not counted; the batch in work is copied from them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from metarl.policies.compression.masks import masked
from metarl.policies.device.accumulators import Accumulators, updated_context, updated_layer
from metarl.policies.device.images.backward import Batch, accumulate
from metarl.policies.device.images.blocks import ImageTrace, device_image_network
from metarl.policies.device.in_place import FloatArray
from metarl.policies.device.meter import Meter
from metarl.policies.methods import Method
from metarl.policies.networks.network import ImageNetwork, Parameters

# NumPy's hidden buffer for an operation on parts of arrays, in numbers per array; its default is 8192.
_BUFFER = 1024


def device_image_step(
    network: ImageNetwork,
    parameters: Parameters,
    method: Method,
    step: int,
    images: FloatArray,
    labels: NDArray[np.int64],
    images_at_once: int = 1,
    meter: Meter | None = None,
) -> Parameters:
    """Return w_l - alpha_l^k * gamma_l * dL/dw_l for the cross-entropy L (p-Meta, eqs. 6 and 14).

    The result is that of the training's inner step up to the rounding of float32; pruned weights stay zero. Raise
    ValueError for batch norm, for layers that a device does not run, and for ablations that do more than weigh
    gradients.

    Args:
        network: the network.
        parameters: its parameters, step sizes and attention modules.
        method: the method.
        step: the inner step k, from 0.
        images: the support set [image, 3, side, side].
        labels: their classes [image].
        images_at_once: images per batch, which share their attention scores.
        meter: measures the memory of the step.

    Returns:
        All parameters, those of the updated layers changed.
    """
    number = len(labels)
    assert images.shape == (number, 3, network.side, network.side) and images_at_once >= 1
    device = device_image_network(network, parameters, method, step, meter or Meter())
    adapted: Parameters = dict(parameters)
    if device.first == len(device.layers):
        return adapted
    accumulators: Accumulators = {}
    with _small_buffers():
        for start in range(0, number, images_at_once):
            part = slice(start, start + images_at_once)
            batch = Batch(labels[part], ImageTrace(images[part]), accumulators, alone=images_at_once >= number)
            for index in accumulate(device, batch):
                if part.stop >= number:
                    layer = device.layers[index]
                    rate = layer.step_size / number
                    if layer.updated and layer.stated.context:
                        adapted |= updated_context(accumulators, layer, rate, parameters, device.meter)
                    else:
                        adapted |= updated_layer(accumulators, layer.name, rate, parameters, device.meter)
    return masked(adapted)


@contextmanager
def _small_buffers() -> Iterator[None]:
    """Set the size of NumPy's hidden buffers for a block of code."""
    before = np.setbufsize(_BUFFER)
    try:
        yield
    finally:
        np.setbufsize(before)
