"""What policies and image networks have in common when they adapt: which layers, which channels, at which cost."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Protocol

import numpy as np
import torch

from metarl.core.errors import Refusal
from metarl.cost.memory import LayerUpdate, Plan, Workload
from metarl.cost.operations import Cost, cost
from metarl.policies.attention import SIDES, attention_rank
from metarl.policies.compression.bases import stored_layers
from metarl.policies.methods import STEP_SIZES, get_method
from metarl.policies.networks.layers import Layer
from metarl.policies.networks.network import Network, Parameters
from metarl.rl.settings import TrainSettings

TASKS = 4  # that attention is judged on


class AdaptationRecord(Protocol):
    """What the metadata of a controller or classifier say about its adaptation."""

    @property
    def method(self) -> str:
        """The name of the method."""
        ...

    @property
    def inner_steps(self) -> int:
        """K, the steps of the inner loop."""
        ...


class Adaptable(Protocol):
    """A controller or a classifier: a network with parameters, step sizes and attention among them."""

    @property
    def parameters(self) -> Parameters:
        """All parameters by name."""
        ...

    @property
    def network(self) -> Network:
        """The network that runs with them."""
        ...

    @property
    def metadata(self) -> AdaptationRecord:
        """What its file says about its adaptation."""
        ...


@dataclass(frozen=True)
class KeptShares:
    """The share of a layer's channels that attention scores above zero, at its input and at its output.

    ``summed`` is the share of the input channels whose gradients are added up: the on-device step of a policy leaves
    out those that no episode keeps.
    """

    forward: float = 1.0
    backward: float = 1.0
    summed: float = 1.0


@dataclass(frozen=True)
class TakenStep:
    """An inner step as it ran: the kept shares of the layers, averaged, and the largest memory it took.

    A layer without shares keeps all of its channels; the memory is 0 where it was not measured.
    """

    shares: Mapping[str, KeptShares]
    peak_bytes: int = 0


def attended(adaptable: Adaptable) -> bool:
    """Return whether its method has attention."""
    return get_method(adaptable.metadata.method).attention is not None


def parameters_adapting(adaptable: Adaptable, layers: Collection[str]) -> Parameters:
    """Return the parameters with step sizes that adapt these layers and no others, in every inner step.

    A layer without a step size gets that of the settings, since memory and operations do not depend on the number.
    Raise Refusal if the method never updates such a layer.
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
    """Return the layers that inner step ``step`` updates: those of the method with a step size other than zero."""
    names, row = adaptable.network.layer_names, _step_sizes(adaptable)[step].tolist()
    possible = get_method(adaptable.metadata.method).updated_layers(adaptable.network.layers)
    return tuple(name for name, step_size in zip(names, row, strict=True) if step_size != 0 and name in possible)


def ever_adapted(adaptable: Adaptable) -> tuple[str, ...]:
    """Return the layers that any inner step updates."""
    updated = {name for step in range(adaptable.metadata.inner_steps) for name in adapted_layers(adaptable, step)}
    return tuple(name for name in adaptable.network.layer_names if name in updated)


def model_cost(
    adaptable: Adaptable, work: Workload, taken: Sequence[TakenStep] = (), layers: Sequence[Layer] | None = None
) -> Cost:
    """Return the cost model's memory and operations for the layers that each inner step updates.

    Args:
        adaptable: The controller or classifier.
        work: The data of one inner step.
        taken: The shares that attention keeps in each step; without them it counts as keeping every channel.
        layers: The layers at another size of the images than the network has.

    Returns:
        The cost.
    """
    stated = layers or adaptable.network.layers
    return cost(stored_layers(stated, adaptable.parameters), step_plans(adaptable, taken), work)


def step_plans(adaptable: Adaptable, taken: Sequence[TakenStep] = ()) -> list[Plan]:
    """Return what each inner step updates, with the kept shares of ``taken`` or, without it, all channels."""
    shares = [step.shares for step in taken] or [{} for _ in range(adaptable.metadata.inner_steps)]
    return [_plan(adaptable, step, each) for step, each in enumerate(shares)]


def mean_shares(shares: Sequence[Mapping[str, KeptShares]]) -> dict[str, KeptShares]:
    """Return the mean over tasks, of each layer."""
    return {name: KeptShares(*np.mean([astuple(each[name]) for each in shares], axis=0).tolist()) for name in shares[0]}


def _plan(adaptable: Adaptable, step: int, shares: Mapping[str, KeptShares]) -> Plan:
    attention, last = get_method(adaptable.metadata.method).attention, adaptable.network.layer_names[-1]
    modules = tuple(side for side in SIDES if attention and side in attention.clips())
    rank = attention_rank(adaptable.parameters)
    kept = {name: shares.get(name, KeptShares()) for name in adapted_layers(adaptable, step)}
    return {
        name: LayerUpdate(each.forward, each.backward, modules, each.summed, rank)
        if name != last
        else LayerUpdate(each.forward, each.backward, (), each.summed)
        for name, each in kept.items()
    }


def _step_sizes(adaptable: Adaptable) -> torch.Tensor:
    if STEP_SIZES not in adaptable.parameters:
        raise Refusal(f"the controller cannot be adapted: {adaptable.metadata.method} needs its '{STEP_SIZES}'")
    return adaptable.parameters[STEP_SIZES]
