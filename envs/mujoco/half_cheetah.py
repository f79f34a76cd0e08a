"""HalfCheetah families: a planar runner with six motors whose episodes never end early."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from metarl.envs.family import Array, TaskFamily, TaskField
from metarl.envs.mujoco import dynamics, rewards
from metarl.envs.mujoco.families import gymnasium_model, robot_family, spaces
from metarl.envs.mujoco.robot import Fields, Robot, Step, normal_start

if TYPE_CHECKING:
    import mujoco

CONTROL_COST = 0.05
FASTEST = 2.0  # target velocity in m/s
TORSO_HEIGHT = 0.7  # of the torso's frame above the ground where the root's z is 0, in m
MOTORS = ("bthigh", "bshin", "bfoot", "fthigh", "fshin", "ffoot")


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


def velocity() -> TaskFamily:
    """Run at a given velocity (Finn et al. 2017, Sec. 5.3; p-Meta, Sec. 4.3)."""
    field = TaskField("target_velocity", 0.0, FASTEST, "m/s")
    return robot_family("half-cheetah-velocity", HALF_CHEETAH, (field,), rewards.target_velocity(CONTROL_COST))


def direction() -> TaskFamily:
    """Run forward or backward (Finn et al. 2017, Sec. 5.3)."""
    field = TaskField("direction", -1.0, 1.0, choices=(-1.0, 1.0))
    return robot_family("half-cheetah-direction", HALF_CHEETAH, (field,), direction_reward)


def direction_reward(step: Step) -> Array:
    """Return the velocity in the direction, 1 for forward and -1 for backward, minus the control cost [n]."""
    return step.tasks["direction"] * step.rate("qpos", 0) - step.control_cost(CONTROL_COST)


def changed_dynamics() -> TaskFamily:
    """Run forward with other masses, damping, friction and motors (ranges of Rothfuss et al. 2019)."""
    groups = ("mass", "damping", "friction", "gear")
    return dynamics.dynamics_family("half-cheetah-dynamics", HALF_CHEETAH, groups, rewards.forward(CONTROL_COST))


def disabled_joint() -> TaskFamily:
    """Run forward with one motor dead (Nagabandi et al. 2019).

    The field ``joint`` is its index in ``MOTORS``.
    """
    field = TaskField("joint", 0, len(MOTORS) - 1, choices=tuple(range(len(MOTORS))))
    return robot_family(
        "half-cheetah-disabled-joint", HALF_CHEETAH, (field,), rewards.forward(CONTROL_COST), vary=disable_motor
    )


def disable_motor(model: mujoco.MjModel, task: Mapping[str, float]) -> mujoco.MjModel:
    """Let the motor of the task's joint exert no torque."""
    model.actuator_gear[int(task["joint"])] = 0
    return model
