"""``vector_task_family``: families of environments that step many episodes at once, Gymnasium's VectorEnv."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Dict
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from metarl.core.errors import Refusal
from metarl.core.user_code import UserCodeError, user_code
from metarl.envs.family import Array, SampleTasks, TaskFamily, TaskField, Transition, Valid
from metarl.envs.from_gymnasium.definition import task_family
from metarl.envs.from_gymnasium.source import HINTS, SUCCESS, Env, Task, kind
from metarl.envs.from_gymnasium.spaces import Actions, Observations, actions, observations

Vector = VectorEnv[Any, Any, Any]
MakeVector = Callable[[int], Vector]
Tasks = dict[str, Array]  # the values [episode] of each task field
SetTasks = Callable[[Vector, Tasks], None]


def vector_task_family(
    name: str,
    make_vector_env: MakeVector,
    fields: Iterable[TaskField],
    horizon: int,
    set_tasks: SetTasks | None = None,
    sample_tasks: SampleTasks | None = None,
    *,
    valid: Valid | None = None,
) -> TaskFamily:
    """Return the family of the vectorized environments that ``make_vector_env`` makes.

    Args:
        name: of the family.
        make_vector_env: called with a number of episodes, returns an environment that steps them together.
        fields: the numbers that a task consists of.
        horizon: steps after which an episode ends.
        set_tasks: called as ``set_tasks(environment, tasks)`` before each reset, ``tasks`` holding an array [episode]
            for each field. Without it they go to the environment as ``reset(options={"task": tasks})``.
        sample_tasks: as for ``task_family``.
        valid: as for ``task_family``.

    Returns:
        The family; its single environment is a vectorized one with one episode. Raise ValueError if an argument cannot
        be used, and UserCodeError if an environment fails.
    """

    def make_env(render_mode: str | None = None) -> OneEpisode:
        if render_mode is not None:
            raise Refusal(f"{name} cannot be drawn: its environments are vectorized")
        return OneEpisode(made(name, make_vector_env, 1), set_tasks)

    family = task_family(name, make_env, fields, horizon, set_one_task, sample_tasks, False, valid=valid)
    probe = made(name, make_vector_env, 1)
    layouts = observations(name, probe.single_observation_space, None), actions(name, probe.single_action_space)
    probe.close()
    names = tuple(field.name for field in family.fields)
    return replace(
        family,
        make_simulator=lambda threads: VectorSimulator(name, names, make_vector_env, set_tasks, *layouts),
    )


def made(name: str, make_vector_env: MakeVector, count: int) -> Vector:
    """Return a vectorized environment of ``count`` episodes; raise UserCodeError if it is none."""
    with user_code(f"make_vector_env of {name}"):
        env = make_vector_env(count)
    if not isinstance(env, VectorEnv) or env.num_envs != count:
        got = f"one of {env.num_envs}" if isinstance(env, VectorEnv) else kind(env)
        raise UserCodeError(
            f"make_vector_env({count}) of {name} must return a VectorEnv of {count} episodes, got {got}"
        )
    return env


def begin(env: Vector, tasks: Tasks, set_tasks: SetTasks | None, seeds: Sequence[int | None], **options: Any) -> Any:
    """Reset the episodes of a vectorized environment and return their observations and info.

    Args:
        env: The vectorized environment.
        tasks: A task for each of its episodes.
        set_tasks: Gives the environment its tasks; None passes them as the option ``task``.
        seeds: A seed for each episode; None leaves the generator as it is.
        options: Options of Gymnasium's ``reset``.
    """
    if set_tasks is None:
        options["task"] = tasks
    else:
        set_tasks(env, tasks)
    return env.reset(seed=list(seeds), options=options or None)  # type: ignore[arg-type]  # as Gymnasium documents it


class OneEpisode(gymnasium.Env[Any, Any]):
    """A vectorized environment of one episode as a single environment."""

    def __init__(self, vector: Vector, set_tasks: SetTasks | None) -> None:
        self.vector, self.set_tasks = vector, set_tasks
        self.observation_space, self.action_space = vector.single_observation_space, vector.single_action_space
        self.tasks: Tasks = {}

    def reset(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode."""
        super().reset(seed=seed)
        observation, info = begin(self.vector, self.tasks, self.set_tasks, [seed], **(options or {}))
        return first(observation), first(info)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step the episode."""
        observation, reward, terminated, truncated, info = self.vector.step(np.asarray(action)[np.newaxis])
        return first(observation), reward[0], bool(terminated[0]), bool(truncated[0]), first(info)

    def close(self) -> None:
        """Close the vectorized environment."""
        self.vector.close()


def set_one_task(env: Env, task: Task) -> None:
    """Give a vectorized environment of one episode its task."""
    assert isinstance(env, OneEpisode)
    env.tasks = {name: np.array([value]) for name, value in task.items()}


def first(values: Any) -> Any:
    """Return the first episode's part of stacked values; dicts are stacked entry by entry."""
    if isinstance(values, Mapping):
        return {key: first(value) for key, value in values.items()}
    return values[0] if isinstance(values, np.ndarray | list | tuple) and len(values) else values


class VectorSimulator:
    """Steps the episodes of all tasks in one vectorized environment, made anew when their number changes."""

    def __init__(
        self,
        name: str,
        fields: tuple[str, ...],
        make_vector_env: MakeVector,
        set_tasks: SetTasks | None,
        layout: Observations,
        native: Actions,
    ) -> None:
        self.name, self.fields, self.make_vector_env, self.set_tasks = name, fields, make_vector_env, set_tasks
        self.layout, self.native = layout, native
        self.env: Vector | None = None

    def reset(self, tasks: Array, seeds: NDArray[np.int64]) -> Array:
        """Start an episode per seed; an episode depends on its task and its seed alone."""
        self.shape, count = seeds.shape, seeds.size
        if self.env is None or self.env.num_envs != count:
            self.close()
            self.env = made(self.name, self.make_vector_env, count)
        rows = np.repeat(tasks, seeds.shape[1], axis=0)
        self.tasks = {name: rows[:, column].copy() for column, name in enumerate(self.fields)}
        self.ended = np.zeros(count, np.bool_)
        self.waiting = np.zeros(count, np.bool_)  # whether an episode ended in the last step
        self.successes: NDArray[np.bool_] | None = None
        with user_code(f"reset of {self.name}", HINTS):
            stacked, _ = begin(self.env, self.tasks, self.set_tasks, seeds.reshape(-1).tolist())
        return self._flat(stacked).reshape(*self.shape, -1)

    def step(self, actions: Array) -> Transition:
        """Step all episodes; one that has ended goes on in the environment, and nothing of it is told."""
        assert self.env is not None
        self._begin_what_waits()
        with user_code(f"step of {self.name}", HINTS):
            stacked, rewards, terminated, truncated, info = self.env.step(
                self.native.restore(actions.reshape(len(self.ended), -1))
            )
        values = self._per_episode("rewards", rewards, np.float64)
        rewards = np.where(self.ended, 0.0, values)
        self._note_success(info)
        ends = self._per_episode("terminations", terminated, np.bool_) | self._per_episode(
            "truncations", truncated, np.bool_
        )
        self.ended = self.ended | ends
        self.waiting = ends
        successes = None if self.successes is None else self.successes.reshape(self.shape).copy()
        flat = self._flat(stacked).reshape(*self.shape, -1)
        return Transition(flat, rewards.reshape(self.shape), self.ended.reshape(self.shape).copy(), successes)

    def close(self) -> None:
        """Close the environment; a later reset makes another."""
        if self.env is not None:
            self.env.close()
            self.env = None

    def _begin_what_waits(self) -> None:
        """Reset the episodes that ended in the last step where the environment refuses to step them until then."""
        assert self.env is not None
        if self.waiting.any() and self.env.metadata.get("autoreset_mode") == AutoresetMode.DISABLED:
            with user_code(f"reset of {self.name}", HINTS):
                begin(self.env, self.tasks, self.set_tasks, [None] * len(self.waiting), reset_mask=self.waiting)

    def _note_success(self, info: Mapping[str, Any]) -> None:
        for key in SUCCESS:
            if key in info:
                reached = self._per_episode(key, info[key], np.bool_) & ~self.ended
                self.successes = reached if self.successes is None else self.successes | reached

    def _flat(self, stacked: Any) -> Array:
        """Return stacked observations as vectors [episode, observation]."""
        with user_code(f"reading the observations of {self.name}"):
            if isinstance(self.layout.space, Dict):
                parts = [np.asarray(stacked[key], np.float64).reshape(len(self.ended), -1) for key in self.layout.keys]
                vectors = np.concatenate(parts, axis=1)
            else:
                vectors = np.array(stacked, np.float64).reshape(len(self.ended), -1)
        if vectors.shape[1:] != self.layout.flat.shape:
            raise UserCodeError(
                f"an observation of {self.name} has {vectors.shape[1]} numbers, the observation space "
                f"{self.layout.space} {self.layout.flat.shape[0]}"
            )
        return vectors

    def _per_episode(self, what: str, values: Any, dtype: type) -> NDArray[Any]:
        array = np.asarray(values)
        if array.shape != self.ended.shape or array.dtype.kind not in "biuf":
            raise UserCodeError(
                f"the {what} of {self.name} must be a number for each of {len(self.ended)} episodes, got {kind(values)}"
            )
        return array.astype(dtype)
