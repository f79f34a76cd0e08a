"""A task family as Gymnasium's VectorEnv: the batched simulator steps the episodes of all its environments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from metarl.core.errors import Refusal
from metarl.core.threads import available_threads
from metarl.envs.family import Array, Simulator, TaskFamily

Indices = NDArray[np.int64]


@dataclass
class Group:
    """Episodes that began together, in a simulator of their own; those that have ended there stand still."""

    simulator: Simulator
    members: Indices  # the environments, in the simulator's order


class TaskVectorEnv(VectorEnv[NDArray[Any], NDArray[Any], Any]):
    """Environments of one family, each the same as ``TaskEnv``: one that has ended begins anew in the same step.

    ``reset(options={"task": ...})`` gives all the same task, by its named values; without it each has ``task``, or one
    that is drawn for each episode. ``info["task"]`` holds an array [environment] for each field. Environments that end
    at the same time go on in one simulator, so a family whose episodes all have the same length is the fastest.
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}  # noqa: RUF012, declared so by Gymnasium

    def __init__(
        self,
        family: TaskFamily,
        num_envs: int,
        max_episode_steps: int | None = None,
        task: Mapping[str, float] | None = None,
        threads: int | None = None,
    ) -> None:
        """Make the environments.

        Args:
            family: The task family.
            num_envs: The number of environments.
            max_episode_steps: Steps after which an episode is cut off; the family's horizon if left out.
            task: The named values of the task of every episode; drawn for each if left out.
            threads: Threads of the simulator; all cores if left out. They change no number.
        """
        if not isinstance(num_envs, int) or num_envs < 1:
            raise Refusal(f"the number of environments must be at least 1, got {num_envs!r}")
        self.family, self.num_envs = family, num_envs
        self.horizon, self.threads = max_episode_steps or family.horizon, threads or available_threads()
        self.own_task = None if task is None else family.task_array(task)
        self.single_observation_space, self.single_action_space = family.observation_space, family.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.generators = [seeding.np_random()[0] for _ in range(num_envs)]
        self.groups: list[Group] = []
        self.spare: list[Simulator] = []
        self.group_of: list[Group | None] = [None] * num_envs
        self.tasks = np.zeros((num_envs, len(family.fields)))
        self.elapsed = np.zeros(num_envs, np.int64)
        self.observations: NDArray[Any] = np.zeros(self.observation_space.shape or (), self.observation_space.dtype)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Start all episodes; a number as the seed counts up from environment to environment."""
        seeds = list(seed) if isinstance(seed, Sequence) else counted(seed, self.num_envs)
        if len(seeds) != self.num_envs:
            raise Refusal(f"there must be a seed for each of {self.num_envs} environments, got {len(seeds)}")
        given = (options or {}).get("task")
        self.group_of = [None] * self.num_envs
        self._begin(np.arange(self.num_envs), seeds, self.own_task if given is None else self.family.task_array(given))
        return self.observations.copy(), self._info()

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[NDArray[Any], Array, NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Step all episodes; ``final_obs`` and ``final_info`` tell of those that ended."""
        actions = np.asarray(actions, np.float64).reshape(self.num_envs, -1)
        rewards, terminated = np.zeros(self.num_envs), np.zeros(self.num_envs, np.bool_)
        for group in self.groups:
            transition = group.simulator.step(actions[group.members, np.newaxis])
            mine = np.array([self.group_of[index] is group for index in group.members])
            lives = group.members[mine]
            self.observations[lives] = transition.observations[mine, 0]
            rewards[lives], terminated[lives] = transition.rewards[mine, 0], transition.terminated[mine, 0]
        self.elapsed += 1
        truncated = self.elapsed >= self.horizon
        ended = np.flatnonzero(terminated | truncated)
        final = {}
        if len(ended):
            final = self._final(ended)
            self._begin(ended, [None] * len(ended), self.own_task)
        return self.observations.copy(), rewards, terminated, truncated, self._info() | final

    def close_extras(self, **kwargs: Any) -> None:
        """Free the simulators; ``reset`` makes others."""
        for simulator in (*self.spare, *(group.simulator for group in self.groups)):
            simulator.close()
        self.spare, self.groups = [], []

    def _begin(self, indices: Indices, seeds: Sequence[int | None], task: Array | None) -> None:
        """Start an episode in each of some environments, together; draw their tasks if there is no ``task``."""
        episode_seeds = []
        for index, seed in zip(indices, seeds, strict=True):
            if seed is not None:
                self.generators[index] = seeding.np_random(seed)[0]
            generator = self.generators[index]
            # As in TaskEnv: the task has a stream of its own.
            stream = generator.spawn(1)[0]
            self.tasks[index] = self.family.sample_tasks(1, stream)[0] if task is None else task
            episode_seeds.append(int(generator.integers(2**31)) if seed is None else seed)
            self.group_of[index] = None
        self._drop_what_ended()
        simulator = self.spare.pop() if self.spare else self.family.make_simulator(self.threads)
        group = Group(simulator, indices)
        self.groups.append(group)
        self.observations[indices] = simulator.reset(self.tasks[indices], np.array(episode_seeds)[:, np.newaxis])[:, 0]
        self.elapsed[indices] = 0
        for index in indices:
            self.group_of[index] = group

    def _drop_what_ended(self) -> None:
        """Keep the simulators in which no episode goes on for the next episodes."""
        going_on = [group for group in self.groups if any(group is each for each in self.group_of)]
        self.spare += [group.simulator for group in self.groups if all(group is not each for each in going_on)]
        self.groups = going_on

    def _info(self) -> dict[str, Any]:
        return told(self.family, self.tasks, np.ones(self.num_envs, np.bool_))

    def _final(self, ended: Indices) -> dict[str, Any]:
        """Return what Gymnasium's vector environments tell of episodes that ended in this step."""
        mask = np.zeros(self.num_envs, np.bool_)
        mask[ended] = True
        observations = np.full(self.num_envs, None, dtype=object)
        for index in ended:
            observations[index] = self.observations[index].copy()
        final_info = told(self.family, np.where(mask[:, np.newaxis], self.tasks, 0.0), mask)
        return {"final_obs": observations, "_final_obs": mask, "final_info": final_info, "_final_info": mask.copy()}


def told(family: TaskFamily, tasks: Array, mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Return info about the tasks [environment, field] in Gymnasium's form: each value with a mask of who tells it."""
    values: dict[str, Any] = {}
    for column, field in enumerate(family.fields):
        values |= {field.name: tasks[:, column].copy(), f"_{field.name}": mask.copy()}
    return {"task": values, "_task": mask.copy()}


def counted(seed: int | None, count: int) -> list[int | None]:
    """Return ``count`` seeds from ``seed`` on, None for each without one."""
    return [None if seed is None else seed + i for i in range(count)]
