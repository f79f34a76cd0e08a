"""The environment that other libraries step, on its own: their worker processes import no more than they need."""

from __future__ import annotations

from typing import Any

import gymnasium

from metarl.envs.mujoco.half_cheetah import load_model

ENVIRONMENT = "HalfCheetah-v5"


def make_cheetah(horizon: int) -> gymnasium.Env[Any, Any]:
    """Gymnasium's HalfCheetah, without Gymnasium's checks."""
    load_model()  # so that MuJoCo's warnings go where ours go, in every process
    return gymnasium.make(ENVIRONMENT, max_episode_steps=horizon, disable_env_checker=True)
