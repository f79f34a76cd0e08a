"""What a task family is: a distribution over tasks, a horizon, spaces, and a way to simulate many episodes at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import gymnasium
import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class TaskField:
    """One number that tells tasks apart, e.g. the target velocity, and the interval it is drawn from.

    ``choices`` restricts it to some values (e.g. -1 and 1 for a direction).
    """

    name: str
    low: float
    high: float
    unit: str = ""
    choices: tuple[float, ...] = ()


class Transition(NamedTuple):
    """What a simulator returns for one control step of every episode."""

    observations: Array  # [task, episode, observation]
    rewards: Array  # [task, episode]
    terminated: NDArray[np.bool_]  # [task, episode]


class Simulator(Protocol):
    """All episodes of all tasks, stepped together. Stateful: ``reset`` fixes the number of tasks and episodes."""

    def reset(self, tasks: Array, seeds: NDArray[np.int64]) -> Array:
        """Starts an episode per seed; ``tasks`` [task, field], ``seeds`` [task, episode].

        Returns the observations [task, episode, observation]. An episode depends on its task and its seed alone.
        What ``reset`` and ``step`` return is the caller's to keep and to change.
        """
        ...

    def step(self, actions: Array) -> Transition:
        """Applies ``actions`` [task, episode, action], clipped to the action space, for one control step.

        An episode that has terminated goes on being stepped; what it returns from then on has no meaning.
        FloatingPointError may name an episode whose physics has diverged.
        """
        ...

    def draw(self) -> NDArray[np.uint8]:
        """A picture [height, width, 3] of the first task's first episode."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class TaskFamily:
    """A distribution over tasks that share observations, actions and a horizon.

    ``make_simulator(threads)`` builds a batched simulator, ``make_env(**kwargs)`` the single Gymnasium environment;
    both share one definition of dynamics, observation and reward.
    ``sample_tasks(count, generator)`` returns an array [count, len(fields)].
    """

    name: str
    fields: tuple[TaskField, ...]
    observation_space: gymnasium.spaces.Box
    action_space: gymnasium.spaces.Box
    horizon: int
    make_simulator: Callable[[int], Simulator]
    make_env: Callable[..., gymnasium.Env[Any, Any]]
    sample_tasks: Callable[[int, np.random.Generator], Array]

    def task_array(self, task: Mapping[str, float] | ArrayLike) -> Array:
        """The task [field] from its named values, or from an array [field].

        ValueError names a missing, unknown or out-of-range field.
        """
        names = [field.name for field in self.fields]
        if not isinstance(task, Mapping):
            values = np.atleast_1d(np.asarray(task, dtype=object))
            if values.shape != (len(names),):
                raise ValueError(
                    f"a task of {self.name} as an array has the shape ({len(names)},) for {', '.join(names)}, "
                    f"got the shape {values.shape}"
                )
            task = dict(zip(names, values, strict=True))
        expected = f"a task of {self.name} has the fields {', '.join(names)}"
        for name in task:
            if name not in names:
                raise ValueError(f"unknown task field '{name}': {expected}")
        for field in self.fields:
            if field.name not in task:
                raise ValueError(f"task field '{field.name}' is missing: {expected}")
            check_field(self.name, field, task[field.name])
        return np.array([float(task[name]) for name in names])

    def task_dict(self, task: Array) -> dict[str, float]:
        """The named values of a task [field]."""
        return {field.name: float(value) for field, value in zip(self.fields, task, strict=True)}


def check_field(family: str, field: TaskField, value: float) -> None:
    """ValueError unless ``value`` is a number that the field allows."""
    where = f"task field '{field.name}' of {family}"
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{where} must be a number, got {value!r}") from None
    if field.choices and number not in field.choices:
        raise ValueError(f"{where} must be one of {', '.join(f'{c:g}' for c in field.choices)}, got {number:g}")
    if not field.low <= number <= field.high:
        raise ValueError(f"{where} must lie in [{field.low:g}, {field.high:g}], got {number:g}")
