"""Small controllers for tests of the emitted C, what they adapt to, and the comparison with Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from c_robot import Robot
from contexts import suited
from device_problems import device_controller, device_parameters

from metarl.core.errors import Refusal
from metarl.policies.controller import Controller, estimator_of
from metarl.policies.device.episodes import Episode, advantages_per_episode, checked_episodes
from metarl.policies.device.network import device_layers
from metarl.policies.device.scores import episode_scores
from metarl.policies.export.c import COptions, generated
from metarl.policies.export.fitting import STACK, STATIC
from metarl.policies.methods import get_method
from metarl.policies.networks.mlp import GaussianMLP
from metarl.policies.networks.network import Parameters

NETWORKS = (
    GaussianMLP(3, (), 2),
    GaussianMLP(5, (9, 6), 3),
    GaussianMLP(1, (4, 8, 5), 1),
    GaussianMLP(5, (6, 9), 3, activation="tanh"),
)
HORIZON, EPISODES = 30, 3


def toy_controller(network: GaussianMLP, method: str, inner_steps: int = 1, seed: int = 0) -> Controller:
    network = suited(network, method)
    parameters = device_parameters(network, method, seed, inner_steps=inner_steps)
    controller = device_controller(network, method, parameters, horizon=HORIZON)
    return replace(controller, metadata=replace(controller.metadata, episodes_per_step=EPISODES))


def random_episodes(network: GaussianMLP, lengths: Sequence[int], seed: int) -> list[Episode]:
    random = np.random.default_rng(seed)
    return [
        Episode(
            observations=random.standard_normal((length, network.observation_size), np.float32),
            actions=random.standard_normal((length, network.action_size), np.float32),
            rewards=random.standard_normal(length, np.float32),
        )
        for length in lengths
    ]


def is_on_an_edge(controller: Controller, episodes: Sequence[Episode]) -> bool:
    """Whether a rounding error could block a ReLU, or make attention keep another channel."""
    network, metadata = controller.network, controller.metadata
    observations = torch.from_numpy(np.concatenate([each["observations"] for each in episodes]))
    trace = network(controller.parameters, observations)[1]
    if min(float(layer.output.abs().min()) for layer in trace.values()) < 1e-6:
        return True
    method = get_method(metadata.method)
    layers = device_layers(network, controller.parameters, method, 0)
    clips = {side: clip for layer in layers for side, clip in layer.clips.items() if clip > 0}
    if not clips:
        return False
    samples = advantages_per_episode(checked_episodes(episodes, network), estimator_of(metadata))
    unclipped = [replace(layer, clips=dict.fromkeys(layer.clips, 0.0)) for layer in layers]
    for each in samples:
        for (_, side), scores in episode_scores(unclipped, controller.parameters, each).items():
            if side in clips:
                sums = np.cumsum(np.sort(scores.astype(np.float64))) / len(scores)
                if np.abs(sums - clips[side]).min() < 1e-5:
                    return True
    return False


def computed_with(controller: Controller) -> Parameters:
    """The parameters, biases with what a context adds to them: that is where a robot keeps its change."""
    parameters = dict(controller.parameters)
    for layer in controller.network.layers:
        parameters |= layer.modulated(controller.parameters)
    return parameters


def assert_adapts_alike(robot: Robot, controller: Controller, adapted: Controller) -> None:
    before, after = map(computed_with, (controller, adapted))
    for name, change in robot.change().items():
        expected = (after[name] - before[name]).numpy()
        np.testing.assert_allclose(change, expected, rtol=1e-4, atol=2e-6 * (1 + np.abs(expected).max()), err_msg=name)


def options_with_windows(controller: Controller) -> COptions | None:
    """So little RAM that one pass over the episodes does not do; None if several take no less."""
    ram = generated(controller, COptions()).robot_bytes + STACK + STATIC
    try:
        while not generated(controller, COptions(ram=ram)).sizes.windows:
            ram -= 24
    except Refusal:
        return None
    return COptions(ram=ram)
