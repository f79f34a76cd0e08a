"""Hopper families: a planar leg with three motors whose episode ends when it falls."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from metarl.envs.family import Array, TaskFamily, TaskField
from metarl.envs.mujoco import dynamics, rewards
from metarl.envs.mujoco.families import gymnasium_model, robot_family, spaces
from metarl.envs.mujoco.robot import Fields, Robot, uniform_start

CONTROL_COST, HEALTHY = 1e-3, 1.0  # as in Hopper-v5
FASTEST = 2.0  # target velocity in m/s


def observe(fields: Fields) -> Array:
    """Return [n, 2 joints - 1]: positions without the root's x, and velocities clipped to [-10, 10]."""
    return np.concatenate([fields["qpos"][:, 1:], fields["qvel"].clip(-10, 10)], axis=1)


def healthy(fields: Fields) -> NDArray[np.bool_]:
    """Return whether the torso is high and upright [n]."""
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


def velocity() -> TaskFamily:
    """Hop at a given velocity (range of HalfCheetah's targets)."""
    field = TaskField("target_velocity", 0.0, FASTEST, "m/s")
    reward = rewards.target_velocity(CONTROL_COST, bonus=HEALTHY + FASTEST)
    return robot_family("hopper-velocity", HOPPER, (field,), reward)


def changed_dynamics() -> TaskFamily:
    """Hop forward with other masses, damping and friction (ranges of Rothfuss et al. 2019)."""
    groups = ("mass", "damping", "friction")
    return dynamics.dynamics_family("hopper-dynamics", HOPPER, groups, rewards.forward(CONTROL_COST, HEALTHY))
