"""Take a policy's inner steps on a few tasks: which channels they keep, and how much memory they take on a device.

Which channels attention keeps depends on the episodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from metarl.core.randomness import Purpose, generator
from metarl.core.threads import available_threads, single_threaded_torch
from metarl.cost.memory import Workload
from metarl.envs.family import TaskFamily
from metarl.experiments.analysis.adaptable import TASKS, KeptShares, TakenStep, mean_shares
from metarl.policies.controller import Controller, estimator_of
from metarl.policies.device.episodes import Episode, advantages_per_episode, checked_episodes
from metarl.policies.device.integers.memory import integer_memory
from metarl.policies.device.memory import DeviceMemory, device_memory
from metarl.policies.device.meter import Meter
from metarl.policies.device.network import device_layers
from metarl.policies.device.scores import episode_scores
from metarl.policies.device.workload import Workload as DeviceWorkload
from metarl.policies.methods import get_method
from metarl.policies.networks.integers import IntegerMLP
from metarl.policies.networks.sizes import WORD_BYTES, check_bytes
from metarl.rl.adaptation import stack
from metarl.rl.evaluation import unseen_tasks
from metarl.rl.sampling import Sampler
from metarl.rl.settings import preset
from metarl.rl.training import PolicyTraining

Record = Callable[[Sequence[Controller]], list[list[Episode]]]  # the episodes of each task, by its controller


def untrained(family: TaskFamily, method: str) -> Controller:
    """Return the controller that a meta-training with the family's preset starts from."""
    training = PolicyTraining(family, preset(family.name, method=method))
    return training.controller(training.initial_state())


def workload(controller: Controller, chunk: int | None = None) -> Workload:
    """Return one inner step's data; ``chunk`` observations are in work at a time, without it an episode."""
    return Workload(controller.metadata.horizon, controller.metadata.episodes_per_step, chunk)


def take_steps(
    controller: Controller, record: Record, tasks: int = TASKS, chunk: int | None = None
) -> tuple[TakenStep, ...]:
    """Take all inner steps on a few tasks, each on fresh episodes of the controller before.

    Args:
        controller: The controller.
        record: Records the episodes of each task by its controller.
        tasks: Number of tasks.
        chunk: Observations in work at a time; an episode if left out.

    Returns:
        The kept shares and the memory of each step. Refusal is raised if the controller cannot be adapted to them.
    """
    check_bytes("the recorded episodes", tasks * _episode_bytes(controller))
    adapted, taken = [controller] * tasks, []
    for step in range(controller.metadata.inner_steps):
        episodes, meters = record(adapted), [Meter() for _ in adapted]
        after = [
            each.adapt(recorded, step, chunk, meter)
            for each, recorded, meter in zip(adapted, episodes, meters, strict=True)
        ]
        shares = [kept_shares(each, step, recorded) for each, recorded in zip(adapted, episodes, strict=True)]
        taken.append(TakenStep(mean_shares(shares), max(meter.peak for meter in meters)))
        adapted = after
    return tuple(taken)


def kept_shares(controller: Controller, step: int, episodes: Sequence[Episode]) -> dict[str, KeptShares]:
    """Return the mean over the episodes, for each layer that inner step ``step`` updates by attention."""
    metadata, network = controller.metadata, controller.network
    checked = checked_episodes(episodes, network)
    samples = advantages_per_episode(checked, estimator_of(metadata))
    layers = device_layers(network, controller.parameters, get_method(metadata.method), step)
    scores = [episode_scores(layers, controller.parameters, each) for each in samples]
    kept = {key: np.array([each[key] > 0 for each in scores]) for key in scores[0]}  # [episode, channel]
    return {
        layer.name: KeptShares(
            **{side: float(kept[layer.name, side].mean()) for side in layer.clips},
            summed=float(kept[layer.name, "forward"].any(axis=0).mean()) if layer.chooses_inputs else 1.0,
        )
        for layer in layers
        if layer.updated and layer.clips
    }


@contextmanager
def environment_episodes(controller: Controller, family: TaskFamily, seed: int, tasks: int = TASKS) -> Iterator[Record]:
    """Yield what records episodes in the family's environment.

    Args:
        controller: The controller, which says how many episodes an inner step takes.
        family: The tasks' family.
        seed: Seed of the tasks and episodes.
        tasks: Number of tasks, which no training has seen.
    """
    unseen, random = unseen_tasks(family, tasks, seed), generator(seed, Purpose.ADAPTATION)
    episodes = controller.metadata.episodes_per_step
    with (
        single_threaded_torch(),
        Sampler(family, controller.network, controller.metadata.action_scale, available_threads()) as sampler,
    ):

        def record(adapted: Sequence[Controller]) -> list[list[Episode]]:
            sampled = sampler.sample(stack([each.parameters for each in adapted]), unseen, episodes, random)
            return [sampled.recorded(task) for task in range(tasks)]

        yield record


def random_episodes(controller: Controller, seed: int) -> Record:
    """Return what records random numbers of the right shape, for want of an environment."""
    random = generator(seed, Purpose.ADAPTATION)
    horizon, network = controller.metadata.horizon, controller.network

    def episode() -> Episode:
        return {
            "observations": random.standard_normal((horizon, network.observation_size), np.float32),
            "actions": network.random_actions(random, horizon),
            "rewards": random.standard_normal(horizon, np.float32),
        }

    return lambda adapted: [[episode() for _ in range(controller.metadata.episodes_per_step)] for _ in adapted]


def device_record(controller: Controller, taken: Sequence[TakenStep], chunk: int | None) -> dict[str, int]:
    """Return the bytes that a device needs to adapt a controller: working memory, recordings, weights and attention.

    The working memory is the largest that the steps in ``taken`` took, if there are any; beside it stands that of a
    step in which attention keeps every channel.
    """
    metadata = controller.metadata
    work = DeviceWorkload(metadata.horizon, chunk or metadata.horizon)
    estimator = estimator_of(metadata)
    method, network = get_method(metadata.method), controller.network
    if isinstance(network, IntegerMLP):
        memory = integer_memory(network, controller.parameters, method, work, metadata.episodes_per_step, estimator)
        return _device_record(memory, taken)
    memory = device_memory(
        network,
        controller.parameters,
        method,
        work,
        metadata.episodes_per_step,
        estimator,
    )
    return _device_record(memory, taken)


def _device_record(memory: DeviceMemory, taken: Sequence[TakenStep]) -> dict[str, int]:
    return {
        "working_bytes": max((step.peak_bytes for step in taken), default=memory.working),
        "largest_working_bytes": memory.working,
        "recordings_bytes": memory.recordings,
        "packed_recordings_bytes": memory.packed_recordings,
        "weights_bytes": memory.weights,
        "attention_bytes": memory.attention,
        "streaming_bytes": memory.streaming,
    }


def _episode_bytes(controller: Controller) -> int:
    """Return the bytes of one task's observations, actions and rewards in an inner step."""
    work, network = workload(controller), controller.network
    return work.observations * WORD_BYTES * (network.observation_size + network.action_size + 1)
