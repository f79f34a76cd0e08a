"""Robots simulated by MuJoCo: one batched simulator for any MJCF, and robots as short files."""

from metarl.envs.mujoco.families import robot_family
from metarl.envs.mujoco.robot import Robot, Step, normal_start, uniform_start

__all__ = ["Robot", "Step", "normal_start", "robot_family", "uniform_start"]
