"""Hopper families: a planar leg with three motors whose episode ends when it falls."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from metarl.envs.family import Array, TaskFamily, TaskField
from metarl.envs.mujoco.families import gymnasium_model, robot_family, spaces
from metarl.envs.mujoco.robot import Fields, Robot, Step, uniform_start

CONTROL_COST = 1e-3
FASTEST = 2.0  # target velocity in m/s


def observe(fields: Fields) -> Array:
    """Return [n, 11]: positions without the root's x, and velocities clipped to [-10, 10]."""
    return np.concatenate([fields["qpos"][:, 1:], fields["qvel"].clip(-10, 10)], axis=1)


def healthy(fields: Fields) -> NDArray[np.bool_]:
    """Return whether the torso is high and upright, as in Gymnasium's Hopper-v5 [n]."""
    positions, velocities = fields["qpos"], fields["qvel"]
    largest = np.maximum(np.abs(positions[:, 2:]).max(axis=1), np.abs(velocities).max(axis=1))
    good: NDArray[np.bool_] = (largest < 100) & (positions[:, 1] > 0.7) & (np.abs(positions[:, 2]) < 0.2)
    return good


HOPPER = Robot(
    model=gymnasium_model("hopper.xml"),
    frame_skip=4,
    observe=observe,
    start=uniform_start(5e-3),
    healthy=healthy,
    spaces=spaces(11, 3),
)


def velocity_reward(step: Step) -> Array:
    """Return a bonus for being upright minus the distance to the target velocity and the control cost [n].

    The bonus exceeds the largest distance at rest, so that falling early never pays.
    """
    distance = np.abs(step.rate("qpos", 0) - step.tasks["target_velocity"])
    return (1 + FASTEST) * step.healthy - distance - step.control_cost(CONTROL_COST)


def velocity() -> TaskFamily:
    """Hop at a given velocity, as HalfCheetah's in Finn et al. 2017."""
    field = TaskField("target_velocity", 0.0, FASTEST, "m/s")
    return robot_family("hopper-velocity", HOPPER, (field,), velocity_reward)
