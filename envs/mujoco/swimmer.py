"""Swimmer families: three links in a viscous fluid, with two motors; episodes never end early."""

from __future__ import annotations

from metarl.envs.family import TaskFamily, TaskField
from metarl.envs.mujoco import rewards
from metarl.envs.mujoco.ant import observe
from metarl.envs.mujoco.families import gymnasium_model, robot_family, spaces
from metarl.envs.mujoco.robot import Robot, uniform_start

CONTROL_COST = 1e-4  # as in Swimmer-v5

SWIMMER = Robot(
    model=gymnasium_model("swimmer.xml"),
    frame_skip=4,
    observe=observe,
    start=uniform_start(0.1),
    spaces=spaces(8, 2),
)


def velocity() -> TaskFamily:
    """Swim at a given velocity (range of Rothfuss et al. 2019)."""
    field = TaskField("target_velocity", 0.1, 0.2, "m/s")
    return robot_family("swimmer-velocity", SWIMMER, (field,), rewards.target_velocity(CONTROL_COST))
