"""Small policies of integers and episodes for them, which several tests share."""

import numpy as np
import torch

from metarl.policies.controller import Controller
from metarl.policies.device.episodes import Episode
from metarl.policies.files.metadata import ControllerMetadata
from metarl.policies.methods import get_method, initial_meta_parameters
from metarl.policies.networks.integers import IntegerMLP
from metarl.policies.networks.network import Parameters


def integer_parameters(network: IntegerMLP, seed: int = 0, gradients: float = 60.0) -> Parameters:
    """Random integers, and scales that keep activations and gradients mostly within int8."""
    random = np.random.default_rng(seed)
    parameters: Parameters = {}
    largest = 127 if network.gradient_bits == 8 else 32_767
    for index, layer in enumerate(network.layers):
        weight = random.integers(-127, 128, (layer.outputs, layer.inputs))
        parameters |= {
            f"{layer.name}.weight": torch.from_numpy(weight.astype(np.int8)),
            f"{layer.name}.bias": torch.from_numpy(random.integers(-900, 900, layer.outputs).astype(np.int32)),
            f"{layer.name}.weight_scale": torch.tensor(0.01 * (0.03 if index == 0 else 1.0)),
            f"{layer.name}.input_scale": torch.from_numpy(random.uniform(0.02, 0.04, layer.inputs).astype(np.float32))
            if index == 0
            else torch.tensor(0.03),
            f"{layer.name}.gradient_scale": torch.tensor(gradients / largest),
            f"{layer.name}.sum_shift": torch.tensor(5, dtype=torch.int32),
        }
    parameters[f"{network.layer_names[-1]}.log_std"] = torch.full((network.action_size,), -0.3)
    return parameters


def integer_controller(
    method: str = "maml",
    hidden: tuple[int, ...] = (7, 5),
    gradient_bits: int = 8,
    step_size: float = 0.3,
    seed: int = 0,
) -> Controller:
    network = IntegerMLP(3, hidden, 2, gradient_bits=8 if gradient_bits == 8 else 16)
    generator = torch.Generator().manual_seed(seed)
    inner = initial_meta_parameters(get_method(method), network.layers, 1, step_size, generator)
    inner = {
        name: each + 0.2 * torch.randn(each.shape, generator=generator) if each.ndim else each
        for name, each in inner.items()
        if name != "step_sizes"
    } | {"step_sizes": inner["step_sizes"]}
    metadata = ControllerMetadata(
        method=method,
        family="none",
        task_fields=(),
        horizon=12,
        observation_low=(-np.inf,) * 3,
        observation_high=(np.inf,) * 3,
        action_low=(-np.inf,) * 2,
        action_high=(np.inf,) * 2,
        action_scale=1.0,
        inner_steps=1,
        episodes_per_step=3,
        discount=0.9,
        gae_lambda=0.95,
    )
    return Controller(integer_parameters(network, seed) | inner, network, metadata)


def integer_episodes(seed: int = 0, lengths: tuple[int, ...] = (12, 5, 9)) -> list[Episode]:
    random = np.random.default_rng(seed)
    return [
        Episode(
            observations=random.standard_normal((length, 3), np.float32),
            actions=random.standard_normal((length, 2), np.float32),
            rewards=random.standard_normal(length, np.float32),
        )
        for length in lengths
    ]
