"""What a controller costs on a device: from its step sizes and attention to the cost model, and the step measured.

Which channels attention keeps depends on the episodes, so the inner steps are really taken, on a few tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass
from typing import Any, Protocol

import numpy as np
import torch

from metarl.core.errors import Refusal
from metarl.core.randomness import Purpose, generator
from metarl.core.threads import available_threads, single_threaded_torch
from metarl.cost.memory import LayerUpdate, Plan, Workload
from metarl.cost.operations import Cost, cost
from metarl.envs.family import TaskFamily
from metarl.policies.attention import SIDES
from metarl.policies.controller import Controller
from metarl.policies.device.episodes import Episode, advantages_per_episode, checked_episodes
from metarl.policies.device.memory import device_memory
from metarl.policies.device.meter import Meter
from metarl.policies.device.network import device_layers
from metarl.policies.device.scores import episode_scores
from metarl.policies.device.workload import Estimator
from metarl.policies.device.workload import Workload as DeviceWorkload
from metarl.policies.methods import STEP_SIZES, get_method
from metarl.policies.networks.network import Network, Parameters
from metarl.policies.networks.sizes import WORD_BYTES, check_bytes
from metarl.rl.adaptation import stack
from metarl.rl.evaluation import unseen_tasks
from metarl.rl.sampling import Sampler
from metarl.rl.settings import TrainSettings, preset
from metarl.rl.training import PolicyTraining

TASKS = 4

Record = Callable[[Sequence[Controller]], list[list[Episode]]]  # the episodes of each task, by its controller


class AdaptationRecord(Protocol):
    """What the metadata of a controller and of a classifier say about its adaptation."""

    @property
    def method(self) -> str: ...

    @property
    def inner_steps(self) -> int: ...


class Adaptable(Protocol):
    """A controller or a classifier: a network with parameters, step sizes and attention among them."""

    @property
    def parameters(self) -> Parameters: ...

    @property
    def network(self) -> Network: ...

    @property
    def metadata(self) -> AdaptationRecord: ...


@dataclass(frozen=True)
class KeptShares:
    """The share of a layer's channels that attention scores above zero, at its input and at its output.

    ``summed`` is that of the input channels for which gradients are added up: the on-device step of a policy leaves out
    those that no episode keeps.
    """

    forward: float = 1.0
    backward: float = 1.0
    summed: float = 1.0


@dataclass(frozen=True)
class TakenStep:
    """An inner step as it ran: the kept shares of the layers, averaged, and the largest memory it took.

    Without a layer's shares it keeps all of its channels; the memory is 0 where nobody measured it.
    """

    shares: Mapping[str, KeptShares]
    peak_bytes: int = 0


def untrained(family: TaskFamily, method: str) -> Controller:
    """The controller that a meta-training with the family's preset starts from; ValueError lists the methods."""
    training = PolicyTraining(family, preset(family.name, method=method))
    return training.controller(training.initial_state())


def parameters_adapting(adaptable: Adaptable, layers: Collection[str]) -> Parameters:
    """The parameters with step sizes that adapt these layers and no others, in every inner step.

    A layer without a step size gets that of the settings, since memory and operations do not depend on the number.
    ValueError if the method never updates such a layer.
    """
    names, method = adaptable.network.layer_names, get_method(adaptable.metadata.method)
    possible = method.updated_layers(adaptable.network.layers)
    for name in layers:
        if name not in possible:
            raise Refusal(f"{method.name} does not adapt {name} of this network, only {', '.join(possible)}")
    step_sizes = _step_sizes(adaptable)
    chosen = torch.tensor([name in layers for name in names])
    filled = torch.where(step_sizes == 0, TrainSettings().step_size, step_sizes)
    return {**adaptable.parameters, STEP_SIZES: torch.where(chosen, filled, 0.0)}


def adapted_layers(adaptable: Adaptable, step: int) -> tuple[str, ...]:
    """The layers that inner step ``step`` updates: those of the method with a step size other than zero."""
    names, row = adaptable.network.layer_names, _step_sizes(adaptable)[step].tolist()
    possible = get_method(adaptable.metadata.method).updated_layers(adaptable.network.layers)
    return tuple(name for name, step_size in zip(names, row, strict=True) if step_size != 0 and name in possible)


def workload(controller: Controller, chunk: int | None = None) -> Workload:
    """One inner step's data; ``chunk`` is the number of observations in work at a time, without it an episode."""
    return Workload(controller.metadata.horizon, controller.metadata.episodes_per_step, chunk)


def controller_cost(controller: Controller, taken: Sequence[TakenStep] = (), chunk: int | None = None) -> Cost:
    """The cost model for the layers that each inner step updates.

    ``taken`` has the shares that attention keeps in each step; without them it counts as keeping every channel.
    """
    return cost(controller.network.layers, step_plans(controller, taken), workload(controller, chunk))


def step_plans(adaptable: Adaptable, taken: Sequence[TakenStep] = ()) -> list[Plan]:
    """What each inner step updates, with the kept shares of ``taken`` or, without it, all channels."""
    shares = [step.shares for step in taken] or [{} for _ in range(adaptable.metadata.inner_steps)]
    return [_plan(adaptable, step, each) for step, each in enumerate(shares)]


def take_steps(
    controller: Controller, record: Record, tasks: int = TASKS, chunk: int | None = None
) -> tuple[TakenStep, ...]:
    """All inner steps on ``tasks`` tasks, each on fresh episodes of the controller before.

    ValueError if the controller cannot be adapted, or not to these episodes.
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
    """The mean over the episodes, for each layer that inner step ``step`` updates by attention."""
    metadata, network = controller.metadata, controller.network
    checked = checked_episodes(episodes, network.observation_size, network.action_size)
    samples = advantages_per_episode(checked, metadata.discount, metadata.gae_lambda)
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
    """Yields what records episodes in the family's environment, on tasks that no training has seen."""
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
    """What records normally distributed numbers of the right shape, for want of an environment."""
    random = generator(seed, Purpose.ADAPTATION)
    horizon, network = controller.metadata.horizon, controller.network

    def episode() -> Episode:
        return {
            "observations": random.standard_normal((horizon, network.observation_size), np.float32),
            "actions": random.standard_normal((horizon, network.action_size), np.float32),
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
    estimator = Estimator(metadata.discount, metadata.gae_lambda)
    memory = device_memory(
        controller.network,
        controller.parameters,
        get_method(metadata.method),
        work,
        metadata.episodes_per_step,
        estimator,
    )
    return {
        "working_bytes": max((step.peak_bytes for step in taken), default=memory.working),
        "largest_working_bytes": memory.working,
        "recordings_bytes": memory.recordings,
        "packed_recordings_bytes": memory.packed_recordings,
        "weights_bytes": memory.weights,
        "attention_bytes": memory.attention,
    }


def device_sentence(device: Mapping[str, int]) -> str:
    """Say what a device needs to adapt a policy, from the bytes of ``device_record``."""
    working, largest, raw, packed, weights, attention = (megabytes(count) for count in device.values())
    most = f", at most {largest} MB if attention keeps every channel" if device["attention_bytes"] else ""
    modules = f" and {attention} MB of attention" if device["attention_bytes"] else ""
    return (
        f"{working} MB of working memory at its peak, the baseline included{most}; beside it {raw} MB of "
        f"recorded episodes ({packed} MB packed), {weights} MB of weights{modules}."
    )


def cost_record(result: Cost, work: Workload, measured: int | None) -> dict[str, Any]:
    """What ``--json`` writes. Operations of adaptation are the mean over the inner steps, memory is the largest."""
    measurement = {} if measured is None else {"measured_peak_adaptation_bytes": measured}
    return {
        "peak_adaptation_bytes": result.peak_adaptation_bytes,
        "peak_inference_bytes": result.peak_inference_bytes,
        "adaptation_macs": result.adaptation_macs,
        "inference_macs": result.inference_macs,
        "static_bytes": result.static_bytes,
        **measurement,
        "attention_bytes": result.attention_bytes,
        "horizon": work.horizon,
        "episodes": work.episodes,
        "chunk": work.batch,
        "steps": [{"layers": [asdict(layer) for layer in step.layers]} for step in result.steps],
    }


def megabytes(count: int) -> str:
    """Millions of bytes with the digits that tell layers of a small policy apart."""
    return f"{count / 1e6:.4f}"


def giga(count: int) -> str:
    """Thousands of millions, likewise."""
    return f"{count / 1e9:.4f}"


def mean_shares(shares: Sequence[Mapping[str, KeptShares]]) -> dict[str, KeptShares]:
    """The mean over tasks, of each layer."""
    return {name: KeptShares(*np.mean([astuple(each[name]) for each in shares], axis=0).tolist()) for name in shares[0]}


def _episode_bytes(controller: Controller) -> int:
    """Return the bytes of one task's observations, actions and rewards in an inner step."""
    work, network = workload(controller), controller.network
    return work.observations * WORD_BYTES * (network.observation_size + network.action_size + 1)


def _plan(adaptable: Adaptable, step: int, shares: Mapping[str, KeptShares]) -> Plan:
    attention, last = get_method(adaptable.metadata.method).attention, adaptable.network.layer_names[-1]
    modules = tuple(side for side in SIDES if attention and side in attention.clips())
    kept = {name: shares.get(name, KeptShares()) for name in adapted_layers(adaptable, step)}
    return {
        name: LayerUpdate(each.forward, each.backward, modules if name != last else (), each.summed)
        for name, each in kept.items()
    }


def _step_sizes(adaptable: Adaptable) -> torch.Tensor:
    if STEP_SIZES not in adaptable.parameters:
        raise Refusal(f"the controller cannot be adapted: {adaptable.metadata.method} needs its '{STEP_SIZES}'")
    return adaptable.parameters[STEP_SIZES]
