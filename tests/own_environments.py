"""Environments as users write them, and families of them; faults can be switched on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from metarl.envs.family import TaskFamily, TaskField
from metarl.envs.from_gymnasium import task_family

GOAL = (TaskField("goal", -1.0, 1.0),)


class Point(gymnasium.Env):
    """Rewarded for an action near the goal."""

    observation_space, action_space = Box(-9, 9, (2,)), Box(-1, 1, (1,))

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode, self.goal, self.time = render_mode, 0.0, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self.np_random.uniform(-1, 1, 2).astype(np.float32), {}

    def step(self, action):
        self.time += 1
        return np.zeros(2, np.float32), -abs(float(action[0]) - self.goal), False, False, {}


def set_goal(env: gymnasium.Env, task: dict[str, float]) -> None:
    env.unwrapped.goal = task["goal"]


def point_with(answer: Callable[[Point, tuple], Any] = lambda env, step: step, **arguments: Any) -> TaskFamily:
    """Return a family of Points whose ``step`` returns ``answer(env, step)``, ``step`` being the right one."""

    class Changed(Point):
        def step(self, action):
            return answer(self, super().step(action))

    return task_family(
        "point", lambda **kwargs: Changed(**kwargs), GOAL, **{"horizon": 10, "set_task": set_goal} | arguments
    )
