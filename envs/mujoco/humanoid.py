"""Humanoid families: a body with 17 motors whose episode ends when it falls.

Contact forces are neither observed nor rewarded: 270 numbers of Gymnasium's Humanoid-v5 remain.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from metarl.envs.family import Array, TaskFamily, TaskField
from metarl.envs.mujoco import rewards
from metarl.envs.mujoco.families import gymnasium_model, robot_family, spaces
from metarl.envs.mujoco.robot import Fields, Robot, uniform_start

CONTROL_COST, HEALTHY, SPEED_WEIGHT = 0.1, 5.0, 1.25  # as in Humanoid-v5
ROOT_SPEEDS = 6  # of the torso's free joint, which no motor drives
MASS_X, MASS_Y = ("subtree_com", 0, 0), ("subtree_com", 0, 1)  # the center of mass of the whole body


def observe(fields: Fields) -> Array:
    """Return [n, 270]: positions without x and y, velocities, and the bodies' inertias, velocities and motor forces."""
    count = len(fields["qpos"])
    return np.concatenate(
        [
            fields["qpos"][:, 2:],
            fields["qvel"],
            fields["cinert"][:, 1:].reshape(count, -1),
            fields["cvel"][:, 1:].reshape(count, -1),
            fields["qfrc_actuator"][:, ROOT_SPEEDS:],
        ],
        axis=1,
    )


def healthy(fields: Fields) -> NDArray[np.bool_]:
    """Return whether the torso's height is in (1, 2) m [n]."""
    height = fields["qpos"][:, 2]
    good: NDArray[np.bool_] = (height > 1.0) & (height < 2.0)
    return good


HUMANOID = Robot(
    model=gymnasium_model("humanoid.xml"),
    frame_skip=5,
    observe=observe,
    start=uniform_start(1e-2),
    reads=("qpos", "qvel", "cinert", "cvel", "qfrc_actuator", "subtree_com"),
    healthy=healthy,
    spaces=spaces(270, 17, 0.4),
)


def direction() -> TaskFamily:
    """Walk in any direction of the plane (Rothfuss et al. 2019; Rakelly et al. 2019)."""
    field = TaskField("direction", -np.pi, np.pi, "rad")
    reward = rewards.direction(CONTROL_COST, HEALTHY, SPEED_WEIGHT, MASS_X, MASS_Y)
    return robot_family("humanoid-direction", HUMANOID, (field,), reward)
