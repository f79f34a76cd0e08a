"""Episodes as a robot records them: raw, or packed with observations of 8 bits and drawn actions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metarl.policies.device.episodes import Episode
from metarl.policies.device.in_place import FloatArray
from metarl.policies.export.c_files import Generated
from metarl.policies.export.noise import noise_of

LEVELS = 255  # steps between the lowest and the highest observation of a packed recording


def as_recorded(made: Generated, episodes: Sequence[Episode], seed: int) -> list[Episode]:
    """Return episodes as the robot has them in its storage.

    Args:
        made: The controller on its way into C.
        episodes: The episodes as they are shown to the robot; of packed recordings, without their actions.
        seed: The seed of the robot's noise.
    """
    if made.packed_range is None:
        return list(episodes)
    controller = made.controller
    std = controller.network.log_std(controller.parameters).exp().numpy()
    recorded, row = [], 0
    for episode in episodes:
        seen = quantized(np.asarray(episode["observations"], np.float32), *made.packed_range)
        noise = [[noise_of(seed, row + step, action) for action in range(len(std))] for step in range(len(seen))]
        actions = (controller.policy_action(seen) + std * np.array(noise, np.float32)).astype(np.float32)
        recorded.append(Episode(observations=seen, actions=actions, rewards=episode["rewards"]))
        row += len(seen)
    return recorded


def quantized(observations: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """Return observations [time, observation] rounded to one of 256 levels between ``low`` and ``high``."""
    step_size = (high - low) / np.float32(LEVELS)
    levels = (observations - low) / np.where(step_size > 0, step_size, np.float32(1))
    rounded = np.clip(np.floor(levels + np.float32(0.5)), 0, LEVELS).astype(np.float32)
    return (low + rounded * step_size).astype(np.float32)
