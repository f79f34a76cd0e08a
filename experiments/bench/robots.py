"""Gymnasium's robots as other libraries step them: their worker processes import no more than they need."""

from __future__ import annotations

import logging
from typing import Any

import gymnasium
import mujoco

from metarl.core.errors import Refusal

# Gymnasium's environment with the robot of a family, whose name begins with the key.
ENVIRONMENTS = {
    "half-cheetah": "HalfCheetah-v5",
    "ant": "Ant-v5",
    "walker2d": "Walker2d-v5",
    "hopper": "Hopper-v5",
    "humanoid": "Humanoid-v5",
    "swimmer": "Swimmer-v5",
    "cartpole": "InvertedPendulum-v5",
}


def environment_of(family: str) -> str:
    """Return the id of Gymnasium's environment with the robot of a family; raise Refusal if there is none."""
    for robot, environment in ENVIRONMENTS.items():
        if family.startswith(f"{robot}-"):
            return environment
    raise Refusal(f"no peer simulates the robot of {family}: choose a family of {', '.join(ENVIRONMENTS)}")


def make_robot(environment: str, horizon: int) -> gymnasium.Env[Any, Any]:
    """Make Gymnasium's environment without Gymnasium's checks, and with the observations of our families."""
    if mujoco.get_mju_user_warning() is None:  # or MuJoCo leaves its log in the current folder
        mujoco.set_mju_user_warning(logging.getLogger("mujoco").info)
    without = {"include_cfrc_ext_in_observation": False} if environment in ("Ant-v5", "Humanoid-v5") else {}
    return gymnasium.make(environment, max_episode_steps=horizon, disable_env_checker=True, **without)
