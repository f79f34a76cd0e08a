"""The support and query batches of a classifier: images with their labels."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from metarl.inner_loop import as_leaves, inner_step
from metarl.losses import cross_entropy
from metarl.policies.attention import Samples
from metarl.policies.compression.masks import is_mask
from metarl.policies.methods import Method
from metarl.policies.networks.network import Network, Parameters


class ImageBatch(NamedTuple):
    """One task's images with their labels.

    ``together`` images in a row share their attention scores: 1 if a device takes one at a time, all of them if it
    takes them as one batch.
    """

    images: Tensor  # [image, 3, side, side]
    labels: Tensor  # [image], int64
    together: int = 1

    @property
    def inputs(self) -> Tensor:
        """The images."""
        return self.images

    @property
    def samples(self) -> Samples:
        """The samples of attention: the images."""
        return Samples(len(self.images), together=self.together)

    @property
    def mean_return(self) -> None:
        """Images have no return."""
        return None

    def loss(self, network: Network, parameters: Parameters, outputs: Tensor) -> Tensor:
        """Return the cross-entropy."""
        return cross_entropy(outputs, self.labels)


def accumulated_step(
    network: Network, parameters: Parameters, method: Method, step: int, batch: ImageBatch, size: int
) -> Parameters:
    """Take the inner step as a device with room for ``size`` images does (p-Meta, Sec. 3.5.1).

    Gradients are accumulated, so that the result is the mean of the steps on ``size`` images at a time. With group norm
    this is the step on all of them whose scores are shared by ``size`` images; with batch norm it is not.

    Args:
        network: The network.
        parameters: One task's parameters, those of the inner loop among them.
        method: Which layers are updated, and what weighs their channels.
        step: The number of the inner step, from 0.
        batch: The support set.
        size: Images in work at a time.

    Returns:
        The new parameters, without history.
    """
    parts = [
        ImageBatch(images, labels, together=size)
        for images, labels in zip(batch.images.split(size), batch.labels.split(size), strict=True)
    ]
    # Masks are no sums: shares that round would leave them other numbers than 0 and 1.
    total = {name: torch.zeros_like(tensor) for name, tensor in parameters.items() if not is_mask(name)}
    for part in parts:
        adapted = inner_step(network, as_leaves(parameters), method, step, part, second_order=False).parameters
        for name in total:
            total[name] += len(part.images) / len(batch.images) * adapted[name].detach()
    return parameters | total
