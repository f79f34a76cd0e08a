"""Episodes as a robot records them: raw, or packed with observations of 8 bits and drawn actions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from metarl.policies.controller import Controller, require_vectors
from metarl.policies.device.episodes import Episode
from metarl.policies.device.in_place import FloatArray
from metarl.policies.export.noise import noise_of
from metarl.policies.normalization import COUNT, MEAN, STD, normalize

if TYPE_CHECKING:
    from metarl.policies.export.c_files import Generated

LEVELS = 255  # steps between the lowest and the highest observation of a packed recording


def as_recorded(made: Generated, episodes: Sequence[Episode], seed: int) -> list[Episode]:
    """Return episodes as the robot has them in its storage: with observations as its policy sees them.

    Args:
        made: The controller on its way into C.
        episodes: The episodes as they are shown to the robot; of packed recordings, without their actions.
        seed: The seed of the robot's noise.
    """
    controller = made.controller
    std = require_vectors(controller, "the export to C").log_std(controller.parameters).exp().numpy()
    recorded, row = [], 0
    for episode in episodes:
        seen, actions = (
            normalized(np.asarray(episode["observations"], np.float32), made.normalization),
            episode["actions"],
        )
        if made.packed_range is not None:
            seen = quantized(seen, *made.packed_range)
            noise = [[noise_of(seed, row + step, action) for action in range(len(std))] for step in range(len(seen))]
            actions = (controller.policy_action(seen) + std * np.array(noise, np.float32)).astype(np.float32)
        recorded.append(Episode(observations=seen, actions=actions, rewards=episode["rewards"]))
        row += len(seen)
    return recorded


def statistics(controller: Controller) -> tuple[FloatArray, FloatArray] | None:
    """Return the mean and the deviation [observation] that normalize a controller's observations, if there are any."""
    if MEAN not in controller.parameters:
        return None
    return controller.parameters[MEAN].numpy(), controller.parameters[STD].numpy()


def without_statistics(controller: Controller) -> Controller:
    """Return a controller that takes normalized observations."""
    bare = {name: tensor for name, tensor in controller.parameters.items() if name not in (MEAN, STD, COUNT)}
    return replace(controller, parameters=bare)


def normalized(observations: FloatArray, normalization: tuple[FloatArray, FloatArray] | None) -> FloatArray:
    """Return observations [..., observation] as the policy sees them."""
    if normalization is None:
        return observations
    mean, std = map(torch.from_numpy, normalization)
    rows = torch.from_numpy(observations).reshape(-1, observations.shape[-1])
    seen: FloatArray = normalize({MEAN: mean, STD: std}, rows).reshape(observations.shape).numpy()
    return seen


def quantized(observations: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """Return observations [time, observation] rounded to one of 256 levels between ``low`` and ``high``."""
    step_size = (high - low) / np.float32(LEVELS)
    levels = (observations - low) / np.where(step_size > 0, step_size, np.float32(1))
    rounded = np.clip(np.floor(levels + np.float32(0.5)), 0, LEVELS).astype(np.float32)
    return (low + rounded * step_size).astype(np.float32)
