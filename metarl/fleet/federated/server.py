"""The server of a federation: float weights, the mean of what clients return, the relay, and a step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

from metarl.adam import adam_step, initial_moments
from metarl.fleet.federated.messages import Broken, Reply, named, read_reply
from metarl.fleet.federated.quantizer import relay
from metarl.fleet.federated.settings import FederationSettings
from metarl.fleet.federated.weights import Layout
from metarl.policies.networks.network import Parameters

Row = dict[str, float]


@dataclass(frozen=True)
class ServerState:
    """What a server carries from one round to the next."""

    round: int  # rounds done
    parameters: Parameters  # float32, which no client sees
    moments: Parameters  # Adam's
    rows: tuple[Row, ...] = field(default=())  # of progress.csv


class Total(NamedTuple):
    """The sum over clients of examples times update, all that the server looks at, and the sum of the examples."""

    update: Tensor  # float64 [number]
    examples: int


def initial_server(parameters: Parameters, layout: Layout) -> ServerState:
    """Return the state before the first round."""
    return ServerState(0, parameters, initial_moments({name: parameters[name] for name in layout.trained}))


def checked_replies(
    messages: Mapping[int, bytes | None], layout: Layout, number: int, opening: str
) -> tuple[dict[int, Reply], Counter[str]]:
    """Return the replies that can be used by client, in ascending order, and how many were dropped, by the fault.

    Args:
        messages: The answer of each client that the round asked, None of one that did not answer.
        layout: What was agreed on.
        number: The round.
        opening: The digest of its broadcast.
    """
    replies: dict[int, Reply] = {}
    dropped: Counter[str] = Counter()
    for client in sorted(messages):
        try:
            replies[client] = read_reply(messages[client], layout, number, opening)
        except Broken as broken:
            dropped[broken.fault] += 1
    return replies, dropped


def summed(replies: Sequence[Reply]) -> Total:
    """Return the sum of at least one reply, each weighed by its examples."""
    parts = [each.header.examples * each.update.double() for each in replies]
    return Total(torch.stack(parts).sum(dim=0), sum(each.header.examples for each in replies))


def server_step(state: ServerState, layout: Layout, settings: FederationSettings, total: Total) -> ServerState:
    """Return the state one round on: the mean update, the relay where it is asked for, and the optimizer's step.

    Args:
        state: The state before the round.
        layout: What was agreed on.
        settings: The settings of the federation.
        total: What the clients returned, in sum.
    """
    old, shapes = state.parameters, {name: tuple(layout.shapes[name]) for name in layout.trained}
    dtype = old[layout.trained[0]].dtype
    mean = named((total.update / total.examples).to(dtype), shapes)
    if settings.mode == "fedavg":
        new = {name: old[name] + change for name, change in mean.items()}
        return replace(state, round=state.round + 1, parameters=old | new)
    if settings.relay:
        mean |= {name: relay(mean[name], old[name], layout.bits) for name in layout.quantized if name in mean}
    moments = state.moments
    if settings.optimizer == "adam":
        new, moments = adam_step(old, mean, moments, settings.learning_rate)
    else:
        new = {name: old[name] - settings.learning_rate * each for name, each in mean.items()}
    return replace(state, round=state.round + 1, parameters=old | new, moments=moments)
