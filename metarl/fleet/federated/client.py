"""What a client does in a round: a gradient at the weights that it got, or some steps with rounding after each."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import torch

from metarl.fleet.federated.messages import ReplyHeader, digest, read_broadcast, reply
from metarl.fleet.federated.settings import FederationSettings, client_random
from metarl.fleet.federated.weights import ClientWeights, Layout, held
from metarl.policies.networks.network import Parameters


class LocalGradient(NamedTuple):
    """A client's gradient of its loss at the weights that it holds."""

    gradients: Parameters  # of the trained parameters
    examples: int  # what it counts for in the mean
    score: float  # before the step


class Clients(Protocol):
    """The clients of a federation with their data."""

    def gradient(self, client: int, weights: ClientWeights, random: np.random.Generator) -> LocalGradient:
        """Return the gradient of one client's loss; ``random`` chooses its examples or episodes."""
        ...


class LocalUpdate(NamedTuple):
    """What a client sends, before it is a message."""

    update: Parameters
    examples: int
    score: float
    moved: float


def answer(message: bytes, layout: Layout, settings: FederationSettings, clients: Clients, client: int) -> bytes:
    """Return a client's answer to a broadcast.

    Args:
        message: The broadcast.
        layout: What was agreed on.
        settings: The settings of the federation.
        clients: The clients and their data.
        client: Which of them.

    Raises:
        Refusal: If the broadcast cannot be used.
        NumericalFault: If a number is not finite.
    """
    number, weights = read_broadcast(message, layout)
    random = client_random(settings, number, client)
    act = gradient_at if settings.mode == "fedsgd" else steps_from
    update, examples, score, moved = act(weights, settings, clients, client, random)
    return reply(ReplyHeader(number, digest(message), examples, score, moved), update, layout)


def gradient_at(
    weights: ClientWeights, settings: FederationSettings, clients: Clients, client: int, random: np.random.Generator
) -> LocalUpdate:
    """Return the gradient at the weights (FedSGD)."""
    gradients, examples, score = clients.gradient(client, weights, random)
    return LocalUpdate(gradients, examples, score, 0.0)


def steps_from(
    weights: ClientWeights, settings: FederationSettings, clients: Clients, client: int, random: np.random.Generator
) -> LocalUpdate:
    """Take steps, rounding the weights after each, and return how they have changed (FedAvg).

    The change is that of the weights that the integers stand for, which are all that a client knows.
    """
    layout, begun, score, examples = weights.layout, weights, 0.0, 0
    chance = torch.Generator().manual_seed(int(random.integers(2**63))) if settings.rounding == "chance" else None
    for step in range(settings.local_steps):
        gradients, taken, reached = clients.gradient(client, weights, random)
        examples, score = examples + taken, reached if step == 0 else score
        parameters = weights.parameters()
        stepped = {name: parameters[name] - settings.learning_rate * each for name, each in gradients.items()}
        weights = held(parameters | stepped, layout, chance)
    old, new = begun.parameters(), weights.parameters()
    update = {name: new[name] - old[name] for name in layout.trained}
    return LocalUpdate(update, examples, score, moved_share(begun, weights))


def moved_share(old: ClientWeights, new: ClientWeights) -> float:
    """Return the share of the quantized weights whose integer differs; 0 if none is quantized."""
    layout = old.layout
    moved = total = 0
    for name in layout.quantized:
        before, after = (torch.round(each.matrix(name) / each.scales[name]) for each in (old, new))
        moved += int((before != after).sum())
        total += before.numel()
    return moved / total if total else 0.0
