"""Controllers and episodes for tests of the on-device step, and the same episodes as the training takes them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from metarl.policies.attention import PAPERS_MODULES, Modules
from metarl.policies.controller import Controller
from metarl.policies.device.network import Samples
from metarl.policies.files.metadata import ControllerMetadata
from metarl.policies.methods import STEP_SIZES, get_method, initial_meta_parameters
from metarl.policies.networks.mlp import PolicyNetwork
from metarl.policies.networks.network import Parameters
from metarl.rl.batch import Batch


def device_parameters(
    network: PolicyNetwork,
    method: str,
    seed: int = 0,
    frozen: Sequence[int] = (),
    inner_steps: int = 1,
    modules: Modules = PAPERS_MODULES,
) -> Parameters:
    """Nothing is left at zero but the step sizes of the ``frozen`` layers and of those the method does not update."""
    random = torch.Generator().manual_seed(seed)
    parameters = network.initial_parameters(random) | initial_meta_parameters(
        get_method(method), network.layers, inner_steps, 0.5, random, modules
    )
    for name, tensor in parameters.items():
        if not tensor.any():
            parameters[name] = 0.3 * torch.randn(tensor.shape, generator=random)
    parameters[STEP_SIZES] *= 0.5 + torch.rand(parameters[STEP_SIZES].shape, generator=random)
    parameters[STEP_SIZES][:, list(frozen)] = 0
    return parameters


def random_samples(network: PolicyNetwork, lengths: Sequence[int], seed: int = 0) -> list[Samples]:
    random = torch.Generator().manual_seed(seed)
    shapes = (network.observation_size,), (network.action_size,), ()
    samples = [
        Samples(*(torch.randn(length, *shape, generator=random).numpy() for shape in shapes)) for length in lengths
    ]
    if network.choices is None:
        return samples
    generator = np.random.default_rng(seed)
    return [each._replace(actions=network.random_actions(generator, len(each.actions))) for each in samples]


def training_batch(episodes: Sequence[Samples], action: float = -5.0) -> Batch:
    """The episodes one after the other, filled up to the longest with numbers that must not matter."""
    lengths = torch.tensor([len(episode.advantages) for episode in episodes])
    valid = torch.arange(int(lengths.max())) < lengths.unsqueeze(1)

    def padded(part: str, padding: float) -> torch.Tensor:
        tensors = [torch.from_numpy(getattr(episode, part)) for episode in episodes]
        return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=padding).flatten(0, 1)

    parts = padded("observations", 7.0), padded("actions", action), padded("advantages", 0.0)
    return Batch(*parts, valid.flatten(), len(episodes))


def device_controller(
    network: PolicyNetwork, method: str, parameters: Parameters, family: str = "toy", horizon: int = 200
) -> Controller:
    low, high = (-1.0,) * network.action_size, (1.0,) * network.action_size
    if network.choices is not None:
        low, high = (0.0,), (network.choices - 1.0,)
    metadata = ControllerMetadata(
        method=method,
        family=family,
        task_fields=(),
        horizon=horizon,
        observation_low=(-math.inf,) * network.observation_size,
        observation_high=(math.inf,) * network.observation_size,
        action_low=low,
        action_high=high,
        action_scale=0.5 if network.choices is None else 1.0,
        inner_steps=len(parameters[STEP_SIZES]),
        episodes_per_step=5,
        discount=0.9,
        gae_lambda=0.8,
    )
    return Controller(parameters, network, metadata)
