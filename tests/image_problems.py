"""Image networks and images for tests of the on-device step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from metarl.policies.methods import STEP_SIZES, get_method, initial_meta_parameters
from metarl.policies.networks.network import ImageNetwork, Parameters


def image_parameters(
    network: ImageNetwork, method: str, seed: int = 0, frozen: Sequence[str] = (), inner_steps: int = 1
) -> Parameters:
    """Nothing is left as it starts but the step sizes of ``frozen`` layers and of those the method does not update."""
    random = torch.Generator().manual_seed(seed)
    parameters = network.initial_parameters(random) | initial_meta_parameters(
        get_method(method), network.layers, inner_steps, 0.5, random
    )
    for name, tensor in parameters.items():
        if name != STEP_SIZES and (tensor.eq(0).all() or tensor.eq(1).all()):
            parameters[name] = tensor + 0.3 * torch.randn(tensor.shape, generator=random)
    parameters[STEP_SIZES] *= 0.5 + torch.rand(parameters[STEP_SIZES].shape, generator=random)
    parameters[STEP_SIZES][:, [network.layer_names.index(name) for name in frozen]] = 0
    return parameters


def random_images(side: int, ways: int, number: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    images = random.standard_normal((number, 3, side, side)).astype(np.float32)
    return images, random.integers(0, ways, number)
