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
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray

from metarl.core.errors import Refusal
from metarl.envs.family import (
    Array,
    SampleTasks,
    TaskFamily,
    TaskField,
    Transition,
    checked_fields,
    checked_spaces,
    sample_fields,
)

Task = dict[str, float]
SetTask = Callable[[gymnasium.Env[Any, Any], Task], None]


def task_family(
    name: str,
    make_env: Callable[..., gymnasium.Env[Any, Any]],
    fields: tuple[TaskField, ...],
    horizon: int,
    set_task: SetTask | None = None,
    sample_tasks: SampleTasks | None = None,
    processes: bool = False,
) -> TaskFamily:
    """The family of the environments that ``make_env()`` makes; ``make_env(render_mode="rgb_array")`` must work too.

    ``set_task(environment, task)`` is called before each reset; without it the task goes to the environment as
    ``reset(options={"task": task})``. ``sample_tasks(count, generator)`` returns tasks [count, field]; without it each
    field is drawn uniformly from its interval or its choices. With ``processes`` each episode runs in a process of its
    own, which pays for environments that are slow. ValueError if observations or actions are no flat box.
    """
    fields = checked_fields(f"the task family {name}", fields)
    observation_space, action_space = probed_spaces(name, make_env)
    family = TaskFamily(
        name=name,
        fields=fields,
        observation_space=observation_space,
        action_space=action_space,
        horizon=horizon,
        make_simulator=lambda threads: GymnasiumSimulator(make_env, set_task, fields, action_space, processes),
        make_env=lambda **kwargs: gymnasium.wrappers.TimeLimit(
            TaskEpisode(make_env(**kwargs), family, set_task), horizon
        ),
        sample_tasks=sample_tasks or partial(sample_fields, fields),
    )
    return family


def probed_spaces(name: str, make_env: Callable[..., gymnasium.Env[Any, Any]]) -> tuple[Box, Box]:
    """Return the observation and the action space of the environments that ``make_env`` makes.

    It is called twice, the second time as for drawing. Raise ValueError if the spaces are no flat boxes, or if both
    calls return the same object: episodes that run side by side would then disturb each other.
    """
    first, second = make_env(), make_env(render_mode="rgb_array")
    if first is second or first.unwrapped is second.unwrapped:
        raise Refusal(f"make_env of {name} returned the same environment twice: it must make a new one each time")
    first.close()
    second.close()
    return checked_spaces(name, first.observation_space, first.action_space)


def begin(
    env: gymnasium.Env[Any, Any], task: Task, set_task: SetTask | None, seed: int | None, options: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """Resets ``env`` for an episode of ``task``; the other ``options`` are passed on."""
    if set_task is None:
        return env.reset(seed=seed, options={**options, "task": task})
    set_task(env, task)
    return env.reset(seed=seed, options=options or None)


class TaskEpisode(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Takes the task as ``reset(options={"task": ...})``, draws one where none is given, and tells it in ``info``."""

    def __init__(self, env: gymnasium.Env[Any, Any], family: TaskFamily, set_task: SetTask | None) -> None:
        super().__init__(env)
        self.family, self.set_task = family, set_task
        self.task: Task = {}
        self.stream = np.random.default_rng()

    def reset(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Starts an episode; ValueError names a task field that is missing, unknown or out of range."""
        if seed is not None:
            # Not the seed itself: the environment draws from that one, and the task could be read off what it draws.
            self.stream = np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])
        rest = dict(options or {})
        given = rest.pop("task", None)
        values = self.family.sample_tasks(1, self.stream)[0] if given is None else self.family.task_array(given)
        self.task = self.family.task_dict(values)
        observation, info = begin(self.env, self.task, self.set_task, seed, rest)
        return observation, {**info, "task": self.task}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward, terminated, truncated, {**info, "task": self.task}


class Lockstep(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An episode among others: takes its task from ``next_task``, and stands still once it has ended.

    It tells of its end in ``info``, since vector environments refuse to step one that has terminated.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], set_task: SetTask | None) -> None:
        super().__init__(env)
        self.set_task = set_task
        self.next_task: Task = {}

    def reset(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.ended = False
        self.last, _ = begin(self.env, self.next_task, self.set_task, seed, dict(options or {}))
        return self.last, {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        reward: Any = 0.0
        if not self.ended:
            self.last, reward, terminated, truncated, _ = self.env.step(action)
            self.ended = bool(terminated or truncated)
        return self.last, reward, False, False, {"ended": self.ended}

    def picture(self) -> Any:
        return self.env.render() if self.render_mode else None


class GymnasiumSimulator:
    """Steps one environment per episode through Gymnasium's SyncVectorEnv, or AsyncVectorEnv with ``processes``."""

    def __init__(
        self,
        make_env: Callable[..., gymnasium.Env[Any, Any]],
        set_task: SetTask | None,
        fields: tuple[TaskField, ...],
        action_space: Box,
        processes: bool,
    ) -> None:
        self.make_env, self.set_task, self.fields, self.action_space = make_env, set_task, fields, action_space
        self.vector_class = AsyncVectorEnv if processes else SyncVectorEnv
        self.vector: SyncVectorEnv | AsyncVectorEnv | None = None

    def reset(self, tasks: Array, seeds: NDArray[np.int64]) -> Array:
        self.shape = seeds.shape
        if self.vector is None or self.vector.num_envs != seeds.size:
            self.close()
            # Only the first one is ever drawn.
            makers = [
                partial(self._episode, **({} if index else {"render_mode": "rgb_array"})) for index in range(seeds.size)
            ]
            self.vector = self.vector_class(makers, autoreset_mode=AutoresetMode.DISABLED)
        names = [field.name for field in self.fields]
        rows = np.repeat(tasks, seeds.shape[1], axis=0).tolist()
        self.vector.set_attr("next_task", [dict(zip(names, row, strict=True)) for row in rows])
        each_seed: list[int | None] = [int(seed) for seed in seeds.flat]
        observations, _ = self.vector.reset(seed=each_seed)
        return self._shaped(observations)

    def step(self, actions: Array) -> Transition:
        assert self.vector is not None
        low, high = self.action_space.low, self.action_space.high
        clipped = np.clip(actions.reshape(-1, actions.shape[-1]), low, high).astype(self.action_space.dtype)
        observations, rewards, _, _, infos = self.vector.step(clipped)
        return Transition(self._shaped(observations), rewards.reshape(self.shape), infos["ended"].reshape(self.shape))

    def draw(self) -> NDArray[np.uint8]:
        """What the first episode's environment renders."""
        assert self.vector is not None
        return np.asarray(self.vector.call("picture")[0])

    def close(self) -> None:
        if self.vector is not None:
            self.vector.close()
            self.vector = None

    def _episode(self, **kwargs: Any) -> Lockstep:
        return Lockstep(self.make_env(**kwargs), self.set_task)

    def _shaped(self, observations: NDArray[Any]) -> Array:
        return observations.astype(np.float64).reshape(*self.shape, -1)
