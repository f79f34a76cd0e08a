"""HalfCheetah families: a planar runner with six motors that never falls for good."""

from __future__ import annotations

import numpy as np

from metarl.envs.family import Array, TaskFamily, TaskField
from metarl.envs.mujoco.families import gymnasium_model, robot_family, spaces
from metarl.envs.mujoco.robot import Fields, Robot, Step, normal_start

CONTROL_COST = 0.05
TORSO_HEIGHT = 0.7  # of the torso's frame above the ground where the root's z is 0, in m


def observe(fields: Fields) -> Array:
    """Return [n, 20]: positions without the root's x, velocities, and the torso's place in space."""
    positions, velocities = fields["qpos"], fields["qvel"]
    observations = np.zeros((len(positions), 20))
    observations[:, :8] = positions[:, 1:]
    observations[:, 8:17] = velocities
    observations[:, 17] = positions[:, 0]
    observations[:, 19] = positions[:, 1] + TORSO_HEIGHT
    return observations


HALF_CHEETAH = Robot(
    model=gymnasium_model("half_cheetah.xml"),
    frame_skip=5,
    observe=observe,
    start=normal_start(0.1),
    spaces=spaces(20, 6),
)


def velocity_reward(step: Step) -> Array:
    """Return minus the distance to the target velocity in m/s, minus the control cost [n]."""
    return -np.abs(step.rate("qpos", 0) - step.tasks["target_velocity"]) - step.control_cost(CONTROL_COST)


def direction_reward(step: Step) -> Array:
    """Return the velocity in the direction, 1 for forward and -1 for backward, minus the control cost [n]."""
    return step.tasks["direction"] * step.rate("qpos", 0) - step.control_cost(CONTROL_COST)


def velocity() -> TaskFamily:
    """Run at a given velocity (Finn et al. 2017, Sec. 5.3; p-Meta, Sec. 4.3)."""
    field = TaskField("target_velocity", 0.0, 2.0, "m/s")
    return robot_family("half-cheetah-velocity", HALF_CHEETAH, (field,), velocity_reward)


def direction() -> TaskFamily:
    """Run forward or backward (Finn et al. 2017, Sec. 5.3)."""
    field = TaskField("direction", -1.0, 1.0, choices=(-1.0, 1.0))
    return robot_family("half-cheetah-direction", HALF_CHEETAH, (field,), direction_reward)
