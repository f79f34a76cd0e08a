"""Random episodes of a task family, recorded so that they can be compared."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from metarl.core.text import plural
from metarl.envs.family import Array, Simulator, TaskFamily, Transition


class Recording(NamedTuple):
    """Episodes up to their ends; what comes after is zero."""

    observations: Array  # [time + 1, task, episode, observation]
    rewards: Array  # [time, task, episode]
    alive: NDArray[np.bool_]  # [time, task, episode], whether the step was taken
    tells_success: bool

    def of(self, tasks: list[int], episodes: list[int]) -> Recording:
        """Return the recording of some of the tasks and episodes, in that order."""
        return self._replace(
            observations=self.observations[:, tasks][:, :, episodes],
            rewards=self.rewards[:, tasks][:, :, episodes],
            alive=self.alive[:, tasks][:, :, episodes],
        )

    def rounded(self) -> Recording:
        """Return the recording with observations in single precision."""
        return self._replace(observations=self.observations.astype(np.float32).astype(np.float64))


@dataclass(frozen=True)
class Script:
    """What is done in the episodes: the same for every recording that is to be compared."""

    tasks: Array  # [task, field]
    seeds: NDArray[np.int64]  # [task, episode]
    actions: Array  # [time, task, episode, action]

    def of(self, tasks: list[int], episodes: list[int]) -> Script:
        """Return the script of some of the tasks and episodes, in that order."""
        return Script(self.tasks[tasks], self.seeds[tasks][:, episodes], self.actions[:, tasks][:, :, episodes])

    def on(self, tasks: Array) -> Script:
        """Return the script with the same seeds and actions on other tasks [task, field]."""
        return Script(tasks, self.seeds, self.actions)


def random_script(family: TaskFamily, tasks: int, episodes: int, steps: int) -> Script:
    """Return a script with drawn tasks and uniform actions.

    Args:
        family: The task family.
        tasks: The number of tasks.
        episodes: The episodes of each task.
        steps: The time steps of an episode.
    """
    random = np.random.default_rng(0)
    low, high = family.action_bounds
    shape = steps, tasks, episodes, len(low)
    uniform = random.integers(family.choices, size=shape) if family.choices else random.uniform(low, high, shape)
    return Script(
        family.sample_tasks(tasks, random),
        random.integers(2**31, size=(tasks, episodes)),
        uniform.astype(family.action_space.dtype).astype(np.float64),  # actions that a single environment takes, too
    )


def record(simulator: Simulator, script: Script) -> Recording:
    """Run the script in a batched simulator."""
    observations = [np.array(simulator.reset(script.tasks, script.seeds))]
    alive = np.ones(script.seeds.shape, dtype=np.bool_)
    rewards, lives, told = [], [], False
    for actions in script.actions:
        transition = simulator.step(actions)
        lives.append(alive)
        observations.append(np.where(alive[..., np.newaxis], transition.observations, 0.0))
        rewards.append(np.where(alive, transition.rewards, 0.0))
        told |= transition.successes is not None
        alive = alive & ~transition.terminated
    return Recording(np.array(observations), np.array(rewards), np.array(lives), told)


class SingleEnvironment:
    """A family's single environment as a simulator of one task and one episode."""

    def __init__(self, family: TaskFamily) -> None:
        self.family, self.env = family, family.make_env()

    def reset(self, tasks: Array, seeds: NDArray[np.int64]) -> Array:
        """Start an episode of the only task with the only seed."""
        options = {"task": self.family.task_dict(tasks[0])}
        observation, _ = self.env.reset(seed=int(seeds[0, 0]), options=options)
        self.ended = False
        return self._shaped(observation)

    def step(self, actions: Array) -> Transition:
        """Step the episode; one that has ended stays as it is."""
        reward = 0.0
        if not self.ended:
            space = self.family.action_space
            action = actions[0, 0].astype(space.dtype).reshape(space.shape)
            observation, number, terminated, truncated, _ = self.env.step(action)
            self.last, reward = self._shaped(observation), float(number)
            self.ended = terminated or truncated
        return Transition(self.last, np.full((1, 1), reward), np.full((1, 1), self.ended))

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def _shaped(self, observation: Any) -> Array:
        return np.array(observation, np.float64)[np.newaxis, np.newaxis]


def difference(first: Recording, second: Recording) -> str:
    """Return where two recordings differ first, empty if nowhere."""
    for time_step in range(len(first.observations)):
        for what, one, other in (
            ("observation", first.observations, second.observations),
            ("reward", first.rewards, second.rewards),
            ("end", first.alive, second.alive),
        ):
            if time_step < len(one) and not np.array_equal(one[time_step], other[time_step], equal_nan=True):
                apart = float(np.nanmax(np.abs(np.subtract(one[time_step], other[time_step], dtype=np.float64))))
                return f"the {what} after {plural(time_step, 'step')}, by {apart:.2g}"
    return ""


def steps_per_second(simulator: Simulator, script: Script) -> float:
    """Return how many environment steps of the script the simulator takes in a second, resets left out."""
    simulator.reset(script.tasks, script.seeds)
    start = time.perf_counter()
    taken, alive = 0, np.ones(script.seeds.shape, dtype=np.bool_)
    for actions in script.actions:
        transition = simulator.step(actions)
        taken += int(alive.sum())
        alive &= ~transition.terminated
    return taken / (time.perf_counter() - start)
