"""Task families whose tasks are told: observations that end with the task's fields, standardized."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from metarl.envs.family import Array, Simulator, TaskFamily, TaskField, Transition


def observe_task(family: TaskFamily) -> TaskFamily:
    """Return the family with observations [observation + field] that tell the task.

    Batched simulator and single environment tell it alike.
    """
    return replace(
        family,
        observation_space=told_space(family),
        make_simulator=lambda threads: TellingSimulator(family.make_simulator(threads), family.fields),
        make_env=lambda **kwargs: telling(family.make_env(**kwargs), family),
    )


def telling(env: gymnasium.Env[Any, Any], family: TaskFamily) -> TaskObservation:
    """Return a family's single environment with observations [observation + field] that tell the task."""
    return TaskObservation(env, family.fields, told_space(family))


def told_space(family: TaskFamily) -> Box:
    """Return the space of observations that end with the standardized task."""
    bounds = (
        standardized(family.fields, np.array([getattr(f, side) for f in family.fields])) for side in ("low", "high")
    )
    space = family.observation_space
    low, high = (np.concatenate(pair) for pair in zip((space.low, space.high), bounds, strict=True))
    assert space.dtype is not None
    return Box(low.astype(space.dtype), high.astype(space.dtype), dtype=space.dtype.type)


def standardized(fields: tuple[TaskField, ...], tasks: Array) -> Array:
    """Return tasks [..., field] minus the fields' means, over their deviations.

    Mean and deviation are those of values that are uniform in the field's interval or among its choices; a field that
    is always the same gives 0.
    """
    means, deviations = np.array([moments(field) for field in fields]).T
    told: Array = (tasks - means) / np.where(deviations > 0, deviations, 1.0)
    return told


def moments(field: TaskField) -> tuple[float, float]:
    """Return mean and standard deviation of a field's values, uniform in its interval or among its choices."""
    if field.choices:
        return float(np.mean(field.choices)), float(np.std(field.choices))
    return (field.low + field.high) / 2, (field.high - field.low) / math.sqrt(12)


class TellingSimulator:
    """A simulator whose observations end with the standardized task."""

    def __init__(self, simulator: Simulator, fields: tuple[TaskField, ...]) -> None:
        self.simulator, self.fields = simulator, fields

    def reset(self, tasks: Array, seeds: NDArray[np.int64]) -> Array:
        """Start an episode per seed; return the observations [task, episode, observation + field]."""
        self.told = np.broadcast_to(standardized(self.fields, tasks)[:, np.newaxis], (*seeds.shape, len(self.fields)))
        return self._with_task(self.simulator.reset(tasks, seeds))

    def step(self, actions: Array) -> Transition:
        """Step every episode by its action [task, episode, action]."""
        transition = self.simulator.step(actions)
        return transition._replace(observations=self._with_task(transition.observations))

    def close(self) -> None:
        """Free what the simulator holds."""
        self.simulator.close()

    def _with_task(self, observations: Array) -> Array:
        return np.concatenate([observations, self.told], axis=-1)


class TaskObservation(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment whose observations end with the standardized task, which it tells in ``info["task"]``."""

    def __init__(self, env: gymnasium.Env[Any, Any], fields: tuple[TaskField, ...], observation_space: Box) -> None:
        super().__init__(env)
        self.fields, self.observation_space = fields, observation_space

    def reset(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode of the task in ``options``, or of one that is drawn."""
        observation, info = self.env.reset(seed=seed, options=None if options is None else dict(options))
        return self._with_task(observation, info), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step the episode."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._with_task(observation, info), reward, terminated, truncated, info

    def _with_task(self, observation: Any, info: Mapping[str, Any]) -> Any:
        task = np.array([info["task"][field.name] for field in self.fields])
        return np.concatenate([observation, standardized(self.fields, task)]).astype(self.observation_space.dtype)
