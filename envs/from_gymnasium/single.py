"""The single Gymnasium environment of such a family: the user's own, which takes and tells its task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from metarl.envs.family import TaskFamily
from metarl.envs.from_gymnasium.source import Env, Source, Task


class TaskEpisode(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Takes the task as ``reset(options={"task": ...})``, draws one where none is given, and tells it in ``info``.

    Observations and actions are flat, as in the family's batched simulator.
    """

    def __init__(self, env: Env, family: TaskFamily, source: Source) -> None:
        super().__init__(env)
        self.family, self.source = family, source
        self.observation_space, self.action_space = family.observation_space, family.action_space
        self.task: Task = {}
        self.stream = np.random.default_rng()

    def reset(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode; raise ValueError if a task field is missing, unknown or out of range."""
        if seed is not None:
            # Not the seed itself: the environment draws from that one, and the task could be read off what it draws.
            self.stream = np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])
        rest = dict(options or {})
        given = rest.pop("task", None)
        values = self.family.sample_tasks(1, self.stream)[0] if given is None else self.family.task_array(given)
        self.task = self.family.task_dict(values)
        observation, info = self.source.begin(self.env, self.task, seed, rest)
        return self._flat(observation), {**info, "task": dict(self.task)}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step the episode; Gymnasium's TimeLimit ends it at the horizon."""
        step = self.source.advance(self.env, self.source.actions.restore(np.asarray(action).reshape(-1)))
        info = {**step.info, "task": dict(self.task)}
        return self._flat(step.observation), step.reward, step.terminated, step.truncated, info

    def _flat(self, observation: Any) -> Any:
        return self.source.flatten(observation).astype(self.family.observation_space.dtype)
