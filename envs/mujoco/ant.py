"""Ant families: a four-legged robot with eight motors whose episode ends when it jumps or its torso touches ground.

Contact forces are neither observed nor rewarded: the 27 numbers of Gymnasium's Ant-v5 without them remain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from metarl.envs.family import Array, TaskFamily, TaskField
from metarl.envs.mujoco import rewards
from metarl.envs.mujoco.families import gymnasium_model, robot_family, spaces
from metarl.envs.mujoco.robot import Fields, Robot, Step, normal_start

if TYPE_CHECKING:
    import mujoco

CONTROL_COST, HEALTHY = 0.5, 1.0  # as in Ant-v5
FASTEST = 3.0  # target velocity in m/s
GOAL_DISTANCE = 3.0  # largest, in m
LEGS = ("right back", "front left", "front right", "left back")  # in the order of their motors


def observe(fields: Fields) -> Array:
    """Return [n, 27]: positions without the torso's x and y, and velocities."""
    return np.concatenate([fields["qpos"][:, 2:], fields["qvel"]], axis=1)


def observe_place(fields: Fields) -> Array:
    """Return [n, 29]: all positions and velocities."""
    return np.concatenate([fields["qpos"], fields["qvel"]], axis=1)


def healthy(fields: Fields) -> NDArray[np.bool_]:
    """Return whether the torso's height is in [0.2, 1] m [n]."""
    height = fields["qpos"][:, 2]
    good: NDArray[np.bool_] = (height >= 0.2) & (height <= 1.0)
    return good


ANT = Robot(
    model=gymnasium_model("ant.xml"),
    frame_skip=5,
    observe=observe,
    start=normal_start(0.1),
    reads=("qpos", "qvel", "xpos"),
    healthy=healthy,
    spaces=spaces(27, 8),
)
ANT_WITH_PLACE = replace(ANT, observe=observe_place, healthy=None, spaces=spaces(29, 8))


def velocity() -> TaskFamily:
    """Walk along x at a given velocity (Finn et al. 2017, Sec. 5.3).

    The range, the costs and the bonuses are theirs.
    """
    field = TaskField("target_velocity", 0.0, FASTEST, "m/s")
    reward = rewards.target_velocity(control_cost=0.005, bonus=1.05, x=rewards.TORSO_X)
    return robot_family("ant-velocity", ANT, (field,), reward)


def direction() -> TaskFamily:
    """Walk in any direction of the plane (Rothfuss et al. 2019; Rakelly et al. 2019)."""
    field = TaskField("direction", -np.pi, np.pi, "rad")
    return robot_family("ant-direction", ANT, (field,), rewards.direction(CONTROL_COST, HEALTHY))


def goal() -> TaskFamily:
    """Walk to a goal within 3 m (Rothfuss et al. 2019; Rakelly et al. 2019).

    No episode ends early, as theirs.
    """
    fields = tuple(TaskField(name, -GOAL_DISTANCE, GOAL_DISTANCE, "m") for name in ("goal_x", "goal_y"))
    return robot_family("ant-goal", ANT_WITH_PLACE, fields, goal_reward, sample_tasks=sample_goals)


def goal_reward(step: Step) -> Array:
    """Return minus the distance to the goal along x and along y, minus the control cost [n]."""
    place = step.after["xpos"][:, 1]
    distance = np.abs(place[:, 0] - step.tasks["goal_x"]) + np.abs(place[:, 1] - step.tasks["goal_y"])
    return -distance - step.control_cost(0.1)


def sample_goals(count: int, generator: np.random.Generator) -> Array:
    """Draw goals [count, 2], uniform in the disc."""
    angle = generator.uniform(-np.pi, np.pi, count)
    radius = GOAL_DISTANCE * np.sqrt(generator.uniform(size=count))
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def disabled_leg() -> TaskFamily:
    """Walk along x with one leg dead (Nagabandi et al. 2019).

    The field ``leg`` is its index in ``LEGS``.
    """
    field = TaskField("leg", 0, len(LEGS) - 1, choices=tuple(range(len(LEGS))))
    reward = rewards.forward(CONTROL_COST, HEALTHY, rewards.TORSO_X)
    return robot_family("ant-disabled-leg", ANT, (field,), reward, vary=disable_leg)


def disable_leg(model: mujoco.MjModel, task: Mapping[str, float]) -> mujoco.MjModel:
    """Let both motors of the task's leg exert no torque."""
    hip = 2 * int(task["leg"])
    model.actuator_gear[[hip, hip + 1]] = 0
    return model
