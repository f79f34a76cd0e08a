"""Rolling out policies in all episodes of all tasks at once."""

from __future__ import annotations

import warnings
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack
from itertools import pairwise
from threading import Event

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metarl.core.errors import Refusal
from metarl.core.memory import available_bytes
from metarl.core.numerics import require_finite
from metarl.core.user_code import users_errors
from metarl.envs.family import Array, Simulator, TaskFamily
from metarl.policies.networks.mlp import PolicyNetwork
from metarl.policies.networks.network import Parameters
from metarl.policies.normalization import normalize
from metarl.rl.episodes import Episodes
from metarl.rl.simulation import check_observations, check_transition

MAX_GROUPS = 4
PATIENCE = 5.0  # seconds for the step under way when a group has failed or a signal has come
LARGE = 10**9  # bytes of environments that are worth a word
ALL = slice(None)


class Sampler:
    """Simulators and threads that are kept from one call to the next.

    The tasks are dealt to groups that run side by side without waiting for each other, each with its own simulator, so
    that one group's policy is computed while another group's physics runs. An episode depends on its task, its seed
    and its noise alone, so the number of groups and threads does not change the result.
    """

    def __init__(self, family: TaskFamily, network: PolicyNetwork, action_scale: float, threads: int) -> None:
        self.family, self.network, self.action_scale = family, network, action_scale
        self.free_bytes = available_bytes()  # before environments are made
        family.warn_of_time_limit()
        groups = min(threads, MAX_GROUPS)
        shares = [threads // groups + (group < threads % groups) for group in range(groups)]
        self.simulators: list[Simulator] = []
        with ExitStack() as on_failure:
            for share in shares:
                self.simulators.append(family.make_simulator(share))
                on_failure.callback(self.simulators[-1].close)
            on_failure.pop_all()
        self.workers = ThreadPoolExecutor(groups, thread_name_prefix="sampler")

    def __enter__(self) -> Sampler:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the threads and close the simulators."""
        self.workers.shutdown()
        self._close_simulators()

    def _close_simulators(self) -> None:
        for simulator in self.simulators:
            simulator.close()

    def sample(
        self,
        parameters: Parameters,
        tasks: Array,
        episodes: int,
        generator: np.random.Generator,
        deterministic: bool = False,
        share: slice = ALL,
    ) -> Episodes:
        """Roll out the policies of all tasks, or of a share of them.

        Args:
            parameters: The policies of the share, with a leading task axis.
            tasks: [task, field], also those outside of the share.
            episodes: Episodes of each task.
            generator: What the episodes' seeds and the noise of the actions are drawn from, for all tasks, so that a
                task's episodes do not depend on the share that it belongs to.
            deterministic: Whether to take the most likely actions.
            share: The tasks that are sampled.

        Returns:
            The episodes.

        Raises:
            NumericalFault: An action, observation or reward is not finite.
        """
        horizon = self.family.horizon
        seeds = generator.integers(2**31, size=(len(tasks), episodes))[share]
        shape = (horizon, len(tasks), episodes, self.network.sizes[-1])
        noise = np.zeros(shape, np.float32) if deterministic else self.network.distribution_type.noise(generator, shape)
        tasks, noise, count = tasks[share], noise[:, share], len(seeds)
        batch = Episodes(
            observations=torch.zeros(count, episodes, horizon, self.network.observation_size),
            actions=torch.zeros(count, episodes, horizon, self.network.action_size),
            rewards=torch.zeros(count, episodes, horizon),
            valid=torch.zeros(count, episodes, horizon, dtype=torch.bool),
            successes=torch.full((count, episodes), torch.nan),
        )
        stop = Event()

        def roll_out(simulator: Simulator, parts: list[slice]) -> None:
            for part in parts:
                _roll_out(
                    self.family,
                    simulator,
                    self.network,
                    {name: tensor[part] for name, tensor in parameters.items()},
                    self.action_scale,
                    tasks[part],
                    seeds[part],
                    torch.from_numpy(noise[:, part]),
                    batch.of(part),
                    stop,
                )

        turns = dealt(count, len(self.simulators), tasks_at_once(self.family, count, episodes, self.free_bytes))
        jobs = [self.workers.submit(roll_out, *job) for job in zip(self.simulators, turns, strict=False)]
        try:
            wait(jobs, return_when=FIRST_EXCEPTION)
        finally:
            # After an error or an interrupt, too, every simulator must be free for the next call.
            stop.set()
            if wait(jobs, PATIENCE).not_done:
                self._close_simulators()  # which ends worker processes in which an environment hangs
                wait(jobs)
        with users_errors(f"sampling episodes of {self.family.name}"):
            for job in jobs:
                job.result()
        require_finite_episodes(batch)
        return batch


def tasks_at_once(family: TaskFamily, tasks: int, episodes: int, free_bytes: int | None) -> int:
    """Return how many tasks can be sampled together.

    Args:
        family: Its environments may take memory worth counting.
        tasks: Tasks to sample.
        episodes: Episodes of each task.
        free_bytes: Memory that can be taken, None if it is not known; half of it may be.

    Returns:
        ``tasks``, or fewer where their environments do not fit; a warning tells of both if they take much memory.
        Raise Refusal if not even one task fits.
    """
    task_bytes = family.episode_bytes * episodes
    if task_bytes * tasks < LARGE or free_bytes is None:
        return tasks
    takes = f"{tasks} x {episodes} environments of {family.name} take {task_bytes * tasks / 1e9:.3g} GB"
    if task_bytes > free_bytes:
        raise Refusal(f"{takes}, and those of one task do not fit into {free_bytes / 1e9:.3g} GB: take fewer episodes")
    fitting = min(tasks, max(1, free_bytes // 2 // task_bytes))
    turns = "" if fitting == tasks else f": tasks are sampled {fitting} at a time, to take less than half of the memory"
    warnings.warn(f"{takes}{turns}", stacklevel=1)
    return fitting


def dealt(tasks: int, groups: int, at_once: int) -> list[list[slice]]:
    """Deal tasks to groups that run side by side.

    Each group takes its slices of tasks in turn, so that about ``at_once`` tasks run at a time, but one per group.
    """
    groups = min(groups, tasks)
    turns = -(-tasks // max(at_once, groups))
    bounds = np.linspace(0, tasks, min(groups * turns, tasks) + 1).astype(int).tolist()
    parts = [slice(start, stop) for start, stop in pairwise(bounds)]
    return [parts[group::groups] for group in range(groups)]


def require_finite_episodes(batch: Episodes) -> None:
    """Raise NumericalFault that names what is not finite: the cause, where a NaN in one has spread to the others."""
    if all(bool(torch.isfinite(part).all()) for part in (batch.observations, batch.actions, batch.rewards)):
        return
    observed = torch.isfinite(batch.observations).all(dim=-1)
    require_finite("the policy's actions are", batch.actions[observed])
    require_finite("the environment's observations are", batch.observations)
    require_finite("the environment's rewards are", batch.rewards)


@torch.no_grad()
def _roll_out(
    family: TaskFamily,
    simulator: Simulator,
    network: PolicyNetwork,
    parameters: Parameters,
    action_scale: float,
    tasks: Array,
    seeds: NDArray[np.int64],
    noise: Tensor,
    out: Episodes,
    stop: Event,
) -> None:
    """Write the episodes of some tasks to ``out``, up to the end of the last one or until ``stop`` is set.

    ``noise`` is [time, task, episode, network output].
    """
    alive = torch.ones(seeds.shape, dtype=torch.bool)
    observations = simulator.reset(tasks, seeds)
    check_observations(family, observations, seeds.shape)
    for time in range(len(noise)):
        if stop.is_set() or not bool(alive.any()):
            return
        inputs = torch.from_numpy(observations).to(noise.dtype)
        outputs, _ = network(parameters, normalize(parameters, inputs))
        actions = network.distribution(parameters, outputs).drawn(noise[time])
        transition = simulator.step((actions * action_scale).numpy().astype(np.float64))
        check_transition(family, transition, seeds.shape)
        out.observations[:, :, time] = inputs
        out.actions[:, :, time] = actions
        out.rewards[:, :, time] = torch.from_numpy(transition.rewards)
        out.valid[:, :, time] = alive
        if transition.successes is not None:
            out.successes[:] = torch.from_numpy(transition.successes)
        alive = alive & ~torch.from_numpy(transition.terminated)
        observations = transition.observations


def for_each_task(parameters: Parameters, count: int) -> Parameters:
    """Return the same parameters for each of ``count`` tasks, without copying them."""
    return {name: tensor.detach().expand(count, *tensor.shape) for name, tensor in parameters.items()}
