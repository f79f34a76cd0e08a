"""Meta-iterations per second over the number of workers, with sleep in the place of physics.

A worker that waits for physics takes none of this machine's cores, so that more workers than cores can be measured: the
rest of an iteration is as in a training. What workers compute beside physics shares the cores here, and would not in a
cluster, so the efficiency is a lower bound of a cluster's.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from metarl.core.clock import Clock
from metarl.core.errors import Refusal
from metarl.core.randomness import Purpose, generator
from metarl.core.threads import single_threaded_torch
from metarl.envs.family import Array, TaskFamily, TaskField, Transition
from metarl.envs.registry import get_family
from metarl.experiments.bench.measure import print_table
from metarl.rl.dealt import DealtWorkers, ShareHolder
from metarl.rl.iteration import meta_iteration
from metarl.rl.settings import TrainSettings
from metarl.rl.start import build_network, initial_state
from metarl.workers.pool import Pool
from metarl.workers.ray_pool import RayCluster

WORKERS = (1, 2, 4, 8, 16)
TARGET = 0.9  # of the largest number of workers
STEP_SECONDS = 0.0025  # of one episode, as an arm of Gymnasium-Robotics takes
SIZES = (17, 6)  # numbers in an observation and in an action, HalfCheetah's
GIGABIT = 125_000_000  # bytes per second
CALIBRATION_STEPS = 200


@dataclass(frozen=True)
class Load:
    """What an iteration samples."""

    tasks: int = 16
    episodes: int = 10
    horizon: int = 50
    step_seconds: float = STEP_SECONDS

    def settings(self) -> TrainSettings:
        """Return the settings of the training."""
        return TrainSettings(
            meta_batch_size=self.tasks, episodes_per_task=self.episodes, threads=1, fisher_fraction=1.0
        )


class SleepingSimulator:
    """A simulator whose step costs time but no core: ``step_seconds`` for each episode."""

    def __init__(self, step_seconds: float) -> None:
        self.step_seconds = step_seconds

    def reset(self, tasks: Array, seeds: NDArray[np.int64]) -> Array:
        """Start all episodes at rest."""
        self.targets = np.broadcast_to(tasks, seeds.shape)
        self.state = np.zeros((*seeds.shape, SIZES[0]))
        return self.state.copy()

    def step(self, actions: Array) -> Transition:
        """Sleep, and let the actions [task, episode, action] decay in the state."""
        time.sleep(self.step_seconds * self.targets.size)
        self.state = np.concatenate([actions, 0.9 * self.state[..., : SIZES[0] - SIZES[1]]], axis=-1)
        rewards = -np.abs(self.state[..., 0] - self.targets)
        return Transition(self.state.copy(), rewards, np.zeros(rewards.shape, np.bool_))

    def close(self) -> None:
        """Do nothing: the simulator holds no resources."""


def sleeping_family(load: Load) -> TaskFamily:
    """Return a family whose simulator sleeps."""

    def make_env(**_: Any) -> Any:
        raise Refusal("the family of this benchmark has a batched simulator alone")

    return TaskFamily(
        name="sleeping",
        fields=(TaskField("target", -1.0, 1.0),),
        observation_space=Box(-np.inf, np.inf, SIZES[:1]),
        action_space=Box(-1.0, 1.0, SIZES[1:]),
        horizon=load.horizon,
        make_simulator=lambda threads: SleepingSimulator(load.step_seconds),
        make_env=make_env,
        sample_tasks=lambda count, random: random.uniform(-1, 1, (count, 1)),
    )


class FirstWorkers:
    """The first workers of a pool."""

    def __init__(self, pool: Pool, count: int) -> None:
        self.pool, self.count, self.traffic = pool, count, pool.traffic

    def __len__(self) -> int:
        """Return the number of workers."""
        return self.count

    def call(
        self, method: str, *shared: Any, own: Sequence[Any] | None = None, workers: int | None = None
    ) -> list[Any]:
        """Call the first workers of the pool; see ``Pool``."""
        return self.pool.call(method, *shared, own=own, workers=min(workers or self.count, self.count))

    def restore(self) -> None:
        """Replace the workers that have ended."""
        self.pool.restore()


def run(threads: int | None = None, family: str | None = None) -> dict[str, Any]:
    """Measure up to 16 workers of one thread on this machine, in about three minutes.

    ``family`` calibrates the sleep to its physics, one thread of this machine; ``threads`` changes nothing.
    """
    load = Load() if family is None else Load(step_seconds=seconds_of_a_step(get_family(family)))
    holder = partial(ShareHolder, sleeping_family(load), load.settings())
    with RayCluster(workers=max(WORKERS)).pool(holder, threads=1, tasks=load.tasks) as pool:
        return measure(pool, load, WORKERS, repetitions=2)


def show(result: dict[str, Any]) -> None:
    """Print rates, efficiency and traffic."""
    rows = [
        [
            str(row["workers"]),
            f"{row['iterations_per_second']:.3g}",
            f"{row['efficiency']:.2f}",
            f"{row['bytes'] / 1e6:.2f}",
            str(row["rounds"]),
            f"{row['bytes'] / GIGABIT:.3f}",
        ]
        for row in result["rows"]
    ]
    print_table(
        f"Meta-iterations of {result['tasks']} tasks of {result['episodes']} episodes of {result['horizon']} steps, "
        f"{1000 * result['step_seconds']:.3g} ms of sleep for each episode's step",
        ["workers", "iterations/s", "efficiency", "MB", "rounds", "s at 1 Gbit/s"],
        rows,
        f"efficiency at {result['rows'][-1]['workers']} workers: {result['rows'][-1]['efficiency']:.2f}, "
        f"target at least {TARGET}",
        "MB and rounds of calls are those of one iteration, to and from all workers. They do not depend on the steps.",
    )


def measure(pool: Pool, load: Load, workers: Sequence[int], repetitions: int) -> dict[str, Any]:
    """Measure iterations in the first so many workers of a pool, after one for warm-up in all of them.

    Args:
        pool: Workers that hold a ``ShareHolder`` of the load's family and settings.
        load: What an iteration samples.
        workers: Numbers of workers, the smallest first.
        repetitions: Iterations of each; the median counts.

    Returns:
        A row for each number of workers. Efficiency is that over the first row.
    """
    seconds_of_one_iteration(pool, load, max(workers))
    rows: list[dict[str, Any]] = []
    for count in workers:
        moved, rounds = pool.traffic.sent + pool.traffic.received, pool.traffic.rounds
        seconds = median(seconds_of_one_iteration(pool, load, count) for _ in range(repetitions))
        rows.append(
            {
                "workers": count,
                "seconds": seconds,
                "iterations_per_second": 1 / seconds,
                "bytes": (pool.traffic.sent + pool.traffic.received - moved) // repetitions,
                "rounds": (pool.traffic.rounds - rounds) // repetitions,
            }
        )
    work = rows[0]["workers"] * rows[0]["seconds"]
    for row in rows:
        row["efficiency"] = work / (row["workers"] * row["seconds"])
    return {**vars(load), "rows": rows}


def seconds_of_one_iteration(pool: Pool, load: Load, workers: int) -> float:
    """Return the seconds of the first iteration of a training, in the first so many workers of a pool."""
    family, settings = sleeping_family(load), load.settings()
    network = build_network(family, settings)
    state, dealt = initial_state(network, settings), DealtWorkers(family, network, FirstWorkers(pool, workers))
    random = generator(settings.seed, Purpose.TRAINING)
    with single_threaded_torch():
        start = time.perf_counter()
        meta_iteration(state.parameters, state.moments, settings, dealt, random, Clock())
        return time.perf_counter() - start


def seconds_of_a_step(family: TaskFamily, episodes: int = 4) -> float:
    """Return the seconds of one thread for a control step of one episode of a family."""
    random = np.random.default_rng(0)
    low, high = family.action_bounds
    with closing(family.make_simulator(1)) as simulator:
        simulator.reset(family.sample_tasks(1, random), np.arange(episodes)[np.newaxis])
        actions = random.uniform(low, high, (CALIBRATION_STEPS, 1, episodes, len(low)))
        start = time.perf_counter()
        for each in actions:
            simulator.step(each)
        return (time.perf_counter() - start) / (CALIBRATION_STEPS * episodes)
