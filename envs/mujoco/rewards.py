"""Rewards of running robots: how fast they run, an upright bonus, and what their motors cost."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from metarl.envs.family import Array
from metarl.envs.mujoco.robot import Step

Reward = Callable[[Step], Array]
ROOT_X = ("qpos", 0)  # the x position of a planar robot's root joint
TORSO_X, TORSO_Y = ("xpos", 1, 0), ("xpos", 1, 1)  # the place of a robot's first body


def forward(control_cost: float, bonus: float = 0.0, x: tuple[str, *tuple[int, ...]] = ROOT_X) -> Reward:
    """Reward the velocity along x in m/s, plus ``bonus`` while healthy, minus ``control_cost`` |a|^2."""

    def reward(step: Step) -> Array:
        return step.rate(*x) + bonus * step.healthy - step.control_cost(control_cost)

    return reward


def target_velocity(control_cost: float, bonus: float = 0.0, x: tuple[str, *tuple[int, ...]] = ROOT_X) -> Reward:
    """Penalize the distance of the velocity to the task's ``target_velocity``, otherwise as ``forward``.

    The bonus should exceed the largest distance at rest, so that falling early never pays.
    """

    def reward(step: Step) -> Array:
        distance = np.abs(step.rate(*x) - step.tasks["target_velocity"])
        return bonus * step.healthy - distance - step.control_cost(control_cost)

    return reward


def direction(
    control_cost: float,
    bonus: float,
    weight: float = 1.0,
    x: tuple[str, *tuple[int, ...]] = TORSO_X,
    y: tuple[str, *tuple[int, ...]] = TORSO_Y,
) -> Reward:
    """Reward the velocity in a direction of the plane.

    Args:
        control_cost: Factor on |a|^2, which is subtracted.
        bonus: What a healthy step earns.
        weight: Factor on the velocity in m/s along the task's ``direction``, an angle to the x axis in rad.
        x: The field and the index of the position along x.
        y: The same along y.

    Returns:
        The reward function.
    """

    def reward(step: Step) -> Array:
        angle = step.tasks["direction"]
        along = np.cos(angle) * step.rate(*x) + np.sin(angle) * step.rate(*y)
        return weight * along + bonus * step.healthy - step.control_cost(control_cost)

    return reward
