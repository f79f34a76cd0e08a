"""A few steps of two environments when a family is first used: what is wrong with them shows before a training."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing

import numpy as np

from metarl.envs.family import TaskField, TaskSampler, is_possible
from metarl.envs.from_gymnasium.source import Env, Source, Task, told

SECONDS = 0.5  # that the trial may take
TIMED_STEPS = 5
EPISODES = 3  # in which two tasks may look alike


def try_out(source: Source, tasks: tuple[Task, Task], horizon: int) -> float:
    """Run two tasks with the same seeds and actions until they differ, and warn if they never do.

    Return the median time of a step in seconds. Raise UserCodeError if an environment fails or returns something that
    cannot be used.
    """
    end = time.monotonic() + SECONDS
    differ, seconds = False, []
    with closing(source.make()) as first, closing(source.make()) as second:
        for differs, taken in compare(source, (first, second), tasks, horizon):
            differ |= differs
            seconds.append(taken)
            if (differ and len(seconds) >= TIMED_STEPS) or time.monotonic() > end:
                break
    if not differ and tasks[0] != tasks[1]:
        effect = "does reset take options['task']" if source.set_task is None else "does set_task have an effect"
        warnings.warn(
            f"the tasks {told(tasks[0])} and {told(tasks[1])} of {source.name}, with the same seed and actions, give "
            f"the same observations and rewards: {effect}?",
            stacklevel=1,
        )
    return float(np.median(seconds))


def far_apart(fields: Sequence[TaskField], sampler: TaskSampler) -> tuple[Task, Task]:
    """Return the task of all lowest values and the one of all highest, or two drawn ones where these are not valid."""
    corners = [
        {field.name: float(extreme(field.choices or (field.low, field.high))) for field in fields}
        for extreme in (min, max)
    ]
    if not all(is_possible(sampler.family, sampler.valid, task) for task in corners):
        drawn = sampler(2, np.random.default_rng(0)).tolist()
        corners = [{field.name: value for field, value in zip(fields, row, strict=True)} for row in drawn]
    return corners[0], corners[1]


def compare(
    source: Source, environments: tuple[Env, Env], tasks: tuple[Task, Task], horizon: int
) -> Iterator[tuple[bool, float]]:
    """Yield, step by step of some episodes, whether the two tasks differ and the seconds that one step took.

    Args:
        source: How environments are made and given tasks.
        environments: Two environments of their own.
        tasks: The task of each.
        horizon: The most steps of an episode.
    """
    for seed in range(EPISODES):
        random = np.random.default_rng(seed)
        begun = [source.begin(env, task, seed, {})[0] for env, task in zip(environments, tasks, strict=True)]
        differ = not _equal(*(source.flatten(observation) for observation in begun))
        for _ in range(horizon):
            action = source.actions.drawn(random)
            start = time.perf_counter()
            first, second = (source.advance(env, action) for env in environments)
            taken = (time.perf_counter() - start) / 2
            same = _equal(source.flatten(first.observation), source.flatten(second.observation))
            differ |= not same or first[1:4] != second[1:4]
            yield differ, taken
            if first.terminated or first.truncated or second.terminated or second.truncated:
                break


def _equal(first: np.ndarray, second: np.ndarray) -> bool:
    return np.array_equal(first, second, equal_nan=True)
