"""One inner step of an image network on a device: the training's step in megabytes (p-Meta, Sec. 3.2, 3.3 and 3.5).

Images are worked through one by one, or a few at a time, and their gradients added up. Kept for the way back are the
inputs of those layers alone whose step size is not zero, of group norms the normalised inputs; of them only the
channels that attention scores above zero; one bit per (leaky) ReLU and two bits per maximum of a pooling. The way back
ends at the first such layer. Everything else travels in the memory of what it replaces (``feature_maps``).

A norm's way back takes its whole normalised input. If that is not kept, it is computed again from the images or the
nearest input that is kept (``recomputation``): more operations for the memory that p-Meta's model
tells. The images, like the weights, are storage and not counted; the batch in work is copied from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from metarl.policies.device.accumulators import Accumulators, updated_layer
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
    """w_l - alpha_l^k * gamma_l * dL/dw_l with the cross-entropy, k = ``step`` (p-Meta, eqs. 6 and 14).

    ``images`` are [image, 3, side, side] with ``labels`` [image]; ``images_at_once`` of them share their attention
    scores. ``meter`` tells afterwards what memory it took. The result is that of the training's inner step up to the
    rounding of float32. ValueError for batch norm, and for ablations that do more than weigh gradients.
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
                    adapted |= updated_layer(
                        accumulators, layer.name, layer.step_size / number, parameters, device.meter
                    )
    return adapted


@contextmanager
def _small_buffers() -> Iterator[None]:
    before = np.setbufsize(_BUFFER)
    try:
        yield
    finally:
        np.setbufsize(before)
