"""A task family out of any Gymnasium environment: slower than a native simulator, with the same interface.

A pendulum whose tasks differ in gravity::

    import gymnasium
    from metarl.envs.family import TaskField
    from metarl.envs.from_gymnasium import task_family

    def set_gravity(environment, task):
        environment.unwrapped.g = task["gravity"]

    pendulum = task_family(
        "pendulum-gravity",
        make_env=lambda **kwargs: gymnasium.make("Pendulum-v1", **kwargs),
        fields=(TaskField("gravity", 5.0, 15.0, "m/s^2"),),
        set_task=set_gravity,
        horizon=100,
    )

Put it into a module of yours, say ``mine.py``, and ``metarl train mine:pendulum`` finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray

from metarl.envs.family import Array, TaskFamily, TaskField, Transition

Task = dict[str, float]


def task_family(
    name: str,
    make_env: Callable[..., gymnasium.Env[Any, Any]],
    fields: tuple[TaskField, ...],
    horizon: int,
    set_task: Callable[[gymnasium.Env[Any, Any], Task], None] | None = None,
    sample_tasks: Callable[[int, np.random.Generator], Array] | None = None,
) -> TaskFamily:
    """The family of the environments that ``make_env()`` makes; ``make_env(render_mode="rgb_array")`` must work too.

    ``set_task(environment, task)`` is called before each reset; without it the task goes to the environment as
    ``reset(options={"task": task})``. ``sample_tasks(count, generator)`` returns tasks [count, field]; without it each
    field is drawn uniformly from its interval or its choices. ValueError if observations or actions are no flat box.
    """
    probe = make_env()
    observation_space, action_space = probe.observation_space, probe.action_space
    probe.close()
    for kind, space in (("observation", observation_space), ("action", action_space)):
        if not isinstance(space, Box) or len(space.shape) != 1:
            raise ValueError(f"the {kind} space of {name} must be a Box with one axis, got {space}")
    assert isinstance(observation_space, Box) and isinstance(action_space, Box)

    def wrapped(**kwargs: Any) -> TaskEpisode:
        return TaskEpisode(make_env(**kwargs), fields, set_task)

    return TaskFamily(
        name=name,
        fields=fields,
        observation_space=observation_space,
        action_space=action_space,
        horizon=horizon,
        make_simulator=lambda threads: GymnasiumSimulator(wrapped, fields, action_space),
        make_env=lambda **kwargs: gymnasium.wrappers.TimeLimit(wrapped(**kwargs), horizon),
        sample_tasks=sample_tasks or (lambda count, generator: sample_fields(fields, count, generator)),
    )


def sample_fields(fields: tuple[TaskField, ...], count: int, generator: np.random.Generator) -> Array:
    """Tasks [count, field], each field uniform in its interval or among its choices."""
    columns = [
        generator.choice(field.choices, count) if field.choices else generator.uniform(field.low, field.high, count)
        for field in fields
    ]
    return np.stack(columns, axis=1)


class TaskEpisode(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Takes the task as ``reset(options={"task": ...})``, draws one where none is given, and tells it in ``info``."""

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        fields: tuple[TaskField, ...],
        set_task: Callable[[gymnasium.Env[Any, Any], Task], None] | None,
    ) -> None:
        super().__init__(env)
        self.fields, self.set_task = fields, set_task
        self.task: Task = {}

    def reset(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        task = (options or {}).get("task")
        if task is None:
            generator = np.random.default_rng(seed)
            task = dict(zip((f.name for f in self.fields), sample_fields(self.fields, 1, generator)[0], strict=True))
        self.task = {name: float(value) for name, value in task.items()}
        if self.set_task is not None:
            self.set_task(self.env, self.task)
            observation, info = self.env.reset(seed=seed)
        else:
            observation, info = self.env.reset(seed=seed, options={"task": self.task})
        return observation, {**info, "task": self.task}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward, terminated, truncated, {**info, "task": self.task}


class Lockstep(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An episode among others: takes its task from ``next_task``, and stands still once it has ended."""

    next_task: Task

    def reset(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.ended = False
        self.last, _ = self.env.reset(seed=seed, options={"task": self.next_task})
        return self.last, {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        if self.ended:
            return self.last, 0.0, False, False, {}
        self.last, reward, terminated, truncated, _ = self.env.step(action)
        self.ended = terminated or truncated
        return self.last, reward, False, False, {}


class GymnasiumSimulator:
    """Steps one environment per episode through Gymnasium's SyncVectorEnv."""

    def __init__(self, make_env: Callable[..., TaskEpisode], fields: tuple[TaskField, ...], action_space: Box) -> None:
        self.make_env, self.fields, self.action_space = make_env, fields, action_space
        self.vector: SyncVectorEnv | None = None
        self.episodes: list[Lockstep] = []

    def reset(self, tasks: Array, seeds: NDArray[np.int64]) -> Array:
        self.shape = seeds.shape
        if self.vector is None or len(self.episodes) != seeds.size:
            self.close()
            self.episodes = [Lockstep(self.make_env(render_mode="rgb_array")) for _ in range(seeds.size)]
            makers = [lambda episode=episode: episode for episode in self.episodes]
            self.vector = SyncVectorEnv(makers, autoreset_mode=AutoresetMode.DISABLED)
        names = [field.name for field in self.fields]
        for episode, task in zip(self.episodes, np.repeat(tasks, seeds.shape[1], axis=0), strict=True):
            episode.next_task = dict(zip(names, map(float, task), strict=True))
        observations, _ = self.vector.reset(seed=[int(seed) for seed in seeds.flat])
        return self._shaped(observations)

    def step(self, actions: Array) -> Transition:
        assert self.vector is not None
        flat = actions.reshape(-1, actions.shape[-1]).astype(self.action_space.dtype)
        observations, rewards, _, _, _ = self.vector.step(np.clip(flat, self.action_space.low, self.action_space.high))
        ended = np.array([episode.ended for episode in self.episodes])
        return Transition(self._shaped(observations), rewards.reshape(self.shape), ended.reshape(self.shape))

    def draw(self) -> NDArray[np.uint8]:
        """What the first episode's environment renders."""
        return np.asarray(self.episodes[0].render())

    def close(self) -> None:
        if self.vector is not None:
            self.vector.close()
            self.vector = None

    def _shaped(self, observations: NDArray[Any]) -> Array:
        return observations.astype(np.float64).reshape(*self.shape, -1)
