"""``task_family``: what a user calls to make a family out of an environment."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from typing import Any

import gymnasium

from metarl.core.errors import Refusal
from metarl.core.memory import resident_bytes
from metarl.core.threads import available_threads
from metarl.envs.family import (
    SampleTasks,
    Simulator,
    TaskFamily,
    TaskField,
    TaskSampler,
    checked_fields,
    checked_horizon,
    sample_fields,
)
from metarl.envs.from_gymnasium.simulator import GymnasiumSimulator
from metarl.envs.from_gymnasium.single import TaskEpisode
from metarl.envs.from_gymnasium.source import Env, MakeEnv, SetTask, Source, Suspendable, Task, made
from metarl.envs.from_gymnasium.spaces import actions, observations
from metarl.envs.from_gymnasium.trial import far_apart, try_out
from metarl.envs.from_gymnasium.workers import pickle

SLOW_STEP = 1e-4  # seconds of a step from which on worker processes pay


def task_family(
    name: str,
    make_env: MakeEnv,
    fields: Iterable[TaskField],
    horizon: int,
    set_task: SetTask | None = None,
    sample_tasks: SampleTasks | None = None,
    processes: bool | None = None,
    *,
    after_reset: bool = False,
    observe: Sequence[str] | None = None,
    valid: Callable[[Task], bool] | None = None,
    reset_seconds: float | None = None,
) -> TaskFamily:
    """Return the family of the environments that ``make_env`` makes.

    Two of them are made to learn their spaces, and stepped a few times when the family is first used, so that what is
    wrong with them shows before a training has begun.

    Args:
        name: of the family.
        make_env: returns a new environment each time; it takes ``render_mode`` as a keyword.
        fields: the numbers that a task consists of.
        horizon: steps after which an episode ends.
        set_task: called as ``set_task(environment, task)`` before each reset, ``task`` being a dict of floats. Without
            it the task goes to the environment as ``reset(options={"task": task})``.
        sample_tasks: called as ``sample_tasks(count, generator)``, returns tasks [count, field]. Without it each field
            is uniform in its interval or among its choices.
        processes: whether worker processes step the environments, as many as there are threads. None: where a step
            takes longer than 0.1 ms and there are several cores. The numbers do not depend on it.
        after_reset: call ``set_task`` after each reset instead, for an environment that draws a goal there.
        observe: the keys of a Dict observation that the policy observes; all but ``desired_goal`` if None.
        valid: called as ``valid(task)``, tells whether a task within the bounds is possible; others are drawn anew.
        reset_seconds: how long a reset may take before it is given up with a sentence; needs worker processes.

    Returns:
        The family. Raise ValueError if an argument cannot be used, and UserCodeError if an environment fails.
    """
    fields = checked_fields(f"the task family {name}", fields)
    horizon = checked_horizon(f"the task family {name}", horizon)
    _check_functions(name, make_env, set_task, sample_tasks, valid)
    if reset_seconds is not None and (processes is False or not reset_seconds > 0):
        raise Refusal(f"reset_seconds of {name} must be above 0 and needs worker processes, got {reset_seconds!r}")
    first = made(name, make_env)
    source = Source(
        name=name,
        make_env=make_env,
        set_task=set_task,
        after_reset=after_reset,
        fields=tuple(field.name for field in fields),
        observations=observations(name, first.observation_space, observe),
        actions=actions(name, first.action_space),
        reset_seconds=reset_seconds,
    )
    sampler = TaskSampler(name, fields, sample_tasks or partial(sample_fields, fields), valid)
    second, taken = _second(source, first)
    limit = time_limit(first)
    first.close()
    second.close()

    @cache  # the environments are tried once, when the family is first used
    def step_seconds() -> float:
        return try_out(source, far_apart(fields, sampler), horizon)

    def make_simulator(threads: int) -> Simulator:
        return GymnasiumSimulator(source, threads if _in_processes(source, processes, step_seconds()) else 0)

    def make_single(**kwargs: Any) -> Env:
        return gymnasium.wrappers.TimeLimit(TaskEpisode(source.make(**kwargs), family, source), horizon)

    family = TaskFamily(
        name=name,
        fields=fields,
        observation_space=source.observations.flat,
        action_space=source.actions.flat,
        horizon=horizon,
        make_simulator=make_simulator,
        make_env=make_single,
        sample_tasks=sampler,
        valid=valid,
        time_limit=limit,
        episode_bytes=0 if isinstance(first, Suspendable) else taken,
    )
    return family


def _check_functions(name: str, make_env: MakeEnv, *others: Callable[..., Any] | None) -> None:
    """Raise Refusal unless all are functions and ``make_env`` takes a render mode."""
    for function in (make_env, *(other for other in others if other is not None)):
        if not callable(function):
            raise Refusal(f"make_env, set_task, sample_tasks and valid of {name} must be functions, got {function!r}")
    try:
        signature = inspect.signature(make_env)
    except (TypeError, ValueError):  # a builtin without one
        return
    try:
        signature.bind(render_mode="rgb_array")
    except TypeError as error:
        raise Refusal(
            f"make_env of {name} must take the keyword render_mode, as in lambda **kwargs: gymnasium.make(ID, "
            f"**kwargs): {error}"
        ) from None


def _second(source: Source, first: Env) -> tuple[Env, int]:
    """Return another environment and the bytes that it takes; raise Refusal if it is the first one again."""
    before = resident_bytes()
    second = source.make()
    if first is second or first.unwrapped is second.unwrapped:
        raise Refusal(
            f"make_env of {source.name} returned the same environment twice: it must make a new one each time"
        )
    return second, max(0, resident_bytes() - before)


def _in_processes(source: Source, wanted: bool | None, step_seconds: float) -> bool:
    """Return whether worker processes step the environments."""
    if wanted is not None or source.reset_seconds is not None:
        return wanted is not False
    if step_seconds < SLOW_STEP or available_threads() == 1:
        return False
    try:
        pickle(source)
    except Refusal:
        return False
    return True


def time_limit(env: Env) -> int | None:
    """Return the steps after which one of an environment's own TimeLimit wrappers ends an episode."""
    limits = []
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, gymnasium.wrappers.TimeLimit):
            limits.append(int(env._max_episode_steps))
        env = env.env
    return min(limits, default=None)
