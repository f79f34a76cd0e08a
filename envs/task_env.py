"""The single Gymnasium environment of a task family: its batched simulator with one task and one episode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from metarl.core.errors import Refusal
from metarl.envs.family import Array, DrawnSimulator, TaskFamily


class TaskEnv(gymnasium.Env[NDArray[Any], Any]):
    """An episode of one task; the same seed and task give the same episode as in the batched simulator.

    ``reset(options={"task": ...})`` sets the task, by its named values or as an array [field]; without it the episode
    has the environment's own ``task``, or one that is drawn from the family. ``info["task"]`` tells it by name.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012, declared so by Gymnasium

    def __init__(
        self, family: TaskFamily, render_mode: str | None = None, task: Mapping[str, float] | None = None
    ) -> None:
        if render_mode not in (None, "rgb_array"):
            raise Refusal(f"the render mode must be 'rgb_array' or None, got {render_mode!r}")
        self.family, self.render_mode = family, render_mode
        self.own_task = None if task is None else family.task_array(task)
        self.observation_space, self.action_space = family.observation_space, family.action_space
        self.simulator = family.make_simulator(1)
        if isinstance(self.simulator, DrawnSimulator):
            self.metadata = self.metadata | {"render_fps": self.simulator.frames_per_second}
        self.task: Array | None = None

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Start an episode; raise ValueError if a task field is missing, unknown or out of range."""
        super().reset(seed=seed)
        given = (options or {}).get("task", self.own_task)
        # The initial state is drawn from the seed, too: without a stream of its own the task could be read off it.
        stream = self.np_random.spawn(1)[0]
        self.task = self.family.sample_tasks(1, stream)[0] if given is None else self.family.task_array(given)
        episode_seed = int(self.np_random.integers(2**31)) if seed is None else seed
        observations = self.simulator.reset(self.task[np.newaxis], np.array([[episode_seed]]))
        return observations[0, 0].copy(), self._info()

    def step(self, action: Any) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Step the episode; Gymnasium's TimeLimit ends it at the horizon."""
        transition = self.simulator.step(np.asarray(action, np.float64).reshape(1, 1, -1))
        observation = transition.observations[0, 0].copy()
        return observation, float(transition.rewards[0, 0]), bool(transition.terminated[0, 0]), False, self._info()

    def render(self) -> NDArray[np.uint8] | None:
        """Return a picture [height, width, 3] of the episode."""
        if self.render_mode != "rgb_array":
            return None
        assert isinstance(self.simulator, DrawnSimulator)
        return self.simulator.draw()

    def close(self) -> None:
        """Free the simulator's threads; ``reset`` works again afterwards."""
        self.simulator.close()

    def _info(self) -> dict[str, Any]:
        assert self.task is not None
        return {"task": self.family.task_dict(self.task)}
