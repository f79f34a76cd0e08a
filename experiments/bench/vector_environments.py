"""The vector environments of other libraries, with a policy in the loop.

All of them simulate Gymnasium's robot: the same model, as many physics steps per control step. They do without the
task, which spares them work, and do not keep what they sample.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from numpy.typing import NDArray

from metarl.experiments.bench.robots import make_robot
from metarl.policies.networks.mlp import GaussianMLP

Policy = Callable[[NDArray[np.float64]], NDArray[np.float64]]  # [environment, observation] -> [environment, action]
Round = Callable[[], int]  # an episode in every environment; returns the number of steps


@dataclass(frozen=True)
class Peer:
    """A vector environment: ``open(environment, count, threads, horizon)`` yields a round of it."""

    name: str
    package: str  # the importable name
    environments: Callable[[int], tuple[int, ...]]  # from the threads to the numbers of environments that are tried
    open: Callable[[str, int, int, int], AbstractContextManager[Round]]


def make_policy(observation_size: int, action_size: int) -> Policy:
    """Make the policy network of our sampler with its noise, one for all environments."""
    network, generator = GaussianMLP(observation_size, (100, 100), action_size), torch.Generator().manual_seed(0)
    parameters = network.initial_parameters(generator)
    std = network.log_std(parameters).exp()

    @torch.no_grad()
    def act(observations: NDArray[np.float64]) -> NDArray[np.float64]:
        mean, _ = network(parameters, torch.from_numpy(observations).float())
        actions = mean + std * torch.randn(mean.shape, generator=generator)
        return actions.clamp_(-1, 1).numpy().astype(np.float64)

    return act


def policy_for(environments: Any) -> Policy:
    """Make the policy for the spaces of a vector environment."""
    return make_policy(environments.observation_space.shape[-1], environments.action_space.shape[-1])


def processes_to_try(threads: int) -> tuple[int, ...]:
    """Return how many environments to try, each in a process: one or two per core, or 16 for a batched policy."""
    return tuple(sorted({threads, 2 * threads, max(16, threads)}))


def start_method() -> str:
    """Return how to start processes beside threads, which fork does not allow."""
    return "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


def makers(environment: str, count: int, horizon: int) -> list[Callable[[], gymnasium.Env[Any, Any]]]:
    """Return functions that make one environment each."""
    return [partial(make_robot, environment, horizon)] * count


def roll_out(environments: Any, policy: Policy, horizon: int) -> int:
    """Play a round through Gymnasium's interface and return its number of steps."""
    observations, _ = environments.reset()
    for _ in range(horizon):
        observations = environments.step(policy(observations))[0]
    return horizon * len(observations)


@contextmanager
def gymnasium_sync(environment: str, count: int, threads: int, horizon: int) -> Iterator[Round]:
    """Step Gymnasium's environments one after the other, in this process."""
    with closing(SyncVectorEnv(makers(environment, count, horizon))) as environments:
        yield partial(roll_out, environments, policy_for(environments), horizon)


@contextmanager
def gymnasium_async(environment: str, count: int, threads: int, horizon: int) -> Iterator[Round]:
    """Step Gymnasium's environments in a process each, with observations in shared memory."""
    vector = AsyncVectorEnv(makers(environment, count, horizon), shared_memory=True, context=start_method())
    with closing(vector) as environments:
        yield partial(roll_out, environments, policy_for(environments), horizon)


@contextmanager
def stable_baselines(environment: str, count: int, threads: int, horizon: int) -> Iterator[Round]:
    """Step Stable-Baselines3's environments in a process each."""
    from stable_baselines3.common.vec_env import SubprocVecEnv

    with closing(SubprocVecEnv(makers(environment, count, horizon), start_method=start_method())) as environments:
        policy = policy_for(environments)

        def round_of_episodes() -> int:
            observations: Any = environments.reset()
            for _ in range(horizon):
                observations = environments.step(policy(observations))[0]
            return horizon * count

        yield round_of_episodes


def make_envpool(environment: str, count: int, batch: int, threads: int, horizon: int) -> Any:
    """Make EnvPool's environments.

    Args:
        environment: Gymnasium's id.
        count: Number of environments.
        batch: How many of them are stepped at once.
        threads: EnvPool's own threads.
        horizon: Steps in an episode.

    Returns:
        The vector environment.
    """
    return import_module("envpool").make(
        environment,
        env_type="gymnasium",
        num_envs=count,
        batch_size=batch,
        num_threads=threads,
        max_episode_steps=horizon,
        seed=0,
    )


@contextmanager
def envpool_sync(environment: str, count: int, threads: int, horizon: int) -> Iterator[Round]:
    """Step EnvPool, waiting for all environments at each step."""
    with closing(make_envpool(environment, count, count, threads, horizon)) as environments:
        yield partial(roll_out, environments, policy_for(environments), horizon)


@contextmanager
def envpool_async(environment: str, count: int, threads: int, horizon: int) -> Iterator[Round]:
    """Step EnvPool, acting on the half of the environments that is ready first."""
    batch = count // 2
    with closing(make_envpool(environment, count, batch, threads, horizon)) as environments:
        policy = policy_for(environments)
        environments.async_reset()

        def round_of_episodes() -> int:
            for _ in range(2 * horizon):
                observations, _, _, _, info = environments.recv()
                environments.send(policy(observations), info["env_id"])
            return 2 * horizon * batch

        yield round_of_episodes


PEERS = (
    Peer("Gymnasium SyncVectorEnv", "gymnasium", lambda threads: (8, 32, 128), gymnasium_sync),
    Peer("Gymnasium AsyncVectorEnv", "gymnasium", processes_to_try, gymnasium_async),
    Peer("SB3 SubprocVecEnv", "stable_baselines3", processes_to_try, stable_baselines),
    Peer("EnvPool", "envpool", lambda threads: (32, 128, 800), envpool_sync),
    Peer("EnvPool asynchronous", "envpool", lambda threads: (32, 128, 800), envpool_async),
)
