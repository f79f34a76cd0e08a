"""The rounds of a federation: broadcast, answers, step, evaluation, checkpoint; whoever carries the messages."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol

from metarl.core.atomic import write_atomically
from metarl.core.errors import NumericalFault, Refusal
from metarl.core.intervals import Interval
from metarl.core.threads import single_threaded_torch
from metarl.fleet.federated.client import Clients, answer
from metarl.fleet.federated.messages import broadcast, digest
from metarl.fleet.federated.server import Row, ServerState, checked_replies, initial_server, server_step, summed
from metarl.fleet.federated.settings import FederationSettings, sampled_clients
from metarl.fleet.federated.weights import ClientWeights, Layout, held, layout_of
from metarl.policies.classifier import Classifier
from metarl.policies.controller import Controller
from metarl.policies.files.tensor_file import FileKind, read_tensors, write_tensors
from metarl.policies.networks.network import Network, Parameters
from metarl.runs.folder import CONTROLLER, PROGRESS

STATE = "state.safetensors"
KIND = FileKind(noun="federation's state", format="metarl-federation", version=2, oldest=2)
SILENT_ROUNDS = 5  # in a row, after which nobody can be there any more
FAULTS = ("silent", "damaged", "wrong round", "wrong shape", "not finite")

# Brings a broadcast of a round to these clients, and returns their answers; None of one that did not answer.
Carrier = Callable[[bytes, tuple[int, ...]], Mapping[int, bytes | None]]


class Population(Clients, Protocol):
    """Clients with what the server needs of them: where it starts, and how it tells what it has reached."""

    @property
    def network(self) -> Network:
        """The network."""
        ...

    @property
    def scored(self) -> int:
        """How many tasks or images ``score`` is the mean of."""
        ...

    @property
    def trained(self) -> tuple[str, ...]:
        """The names of the parameters that clients return an update of."""
        ...

    def start(self) -> Parameters:
        """Return the float parameters before the first round."""
        ...

    def score(self, weights: ClientWeights) -> Interval:
        """Return what a model as clients hold it reaches on tasks or images that no client has."""
        ...

    def about(self) -> dict[str, Any]:
        """Return what the clients are, as plain JSON: a federation goes on with the same ones alone."""
        ...

    def deployed(self, weights: ClientWeights, record: dict[str, Any]) -> Controller | Classifier:
        """Return the controller that clients hold, with a record of its training."""
        ...


@dataclass(frozen=True)
class Outcome:
    """What a federation led to."""

    controller: Controller | Classifier  # as clients hold it
    score: Interval
    rows: tuple[Row, ...]  # of the rounds


def agreed_layout(population: Population, start: Parameters, settings: FederationSettings) -> Layout:
    """Return the layout that server and clients agree on."""
    return layout_of(population.network, start, population.trained, settings.bits)


def in_process(population: Population, layout: Layout, settings: FederationSettings) -> Carrier:
    """Return the carrier that computes all answers here, one after the other."""

    def carry(message: bytes, clients: tuple[int, ...]) -> dict[int, bytes | None]:
        answers: dict[int, bytes | None] = {}
        for client in clients:
            try:
                answers[client] = answer(message, layout, settings, population, client)
            except FloatingPointError:
                answers[client] = None
        return answers

    return carry


def federate(
    population: Population,
    settings: FederationSettings,
    folder: Path | None = None,
    carrier: Carrier | None = None,
    on_round: Callable[[Row], None] = lambda row: None,
) -> Outcome:
    """Run the rounds of a federation, from its checkpoint if the folder holds one.

    Args:
        population: The clients, the start and the evaluation.
        settings: The settings.
        folder: Where ``state.safetensors``, ``progress.csv`` and at the end the controller are written; None to keep
            nothing on disk.
        carrier: What brings messages to clients; all of them are computed here if left out.
        on_round: Is told the row of each round.

    Returns:
        The outcome. Refusal if the folder holds another federation, NumericalFault if no client's answer can be used
        for SILENT_ROUNDS rounds in a row.
    """
    about = {"settings": asdict(settings), "clients": population.about()}
    with single_threaded_torch():
        start = population.start()
        layout = agreed_layout(population, start, settings)
        state = resumed(folder, initial_server(start, layout), about)
        carry = carrier or in_process(population, layout, settings)
        while state.round < settings.rounds:
            state = one_round(state, population, layout, settings, carry)
            if folder is not None:
                keep(folder, state, about)
            on_round(state.rows[-1])
            if sum(row["answers"] for row in state.rows[-SILENT_ROUNDS:]) == 0 and state.round >= SILENT_ROUNDS:
                raise NumericalFault(f"no client has given an answer that can be used for {SILENT_ROUNDS} rounds")
        weights = held(state.parameters, layout)
        score = population.score(weights)
        controller = population.deployed(weights, about | {"rounds": state.round, "score": score.mean})
    if folder is not None:
        controller.save(folder / CONTROLLER, overwrite=True)
    return Outcome(controller, score, state.rows)


def one_round(
    state: ServerState, population: Population, layout: Layout, settings: FederationSettings, carry: Carrier
) -> ServerState:
    """Return the state one round on; without any answer that can be used, the parameters stay.

    Args:
        state: The state before the round.
        population: The clients and the evaluation.
        layout: What was agreed on.
        settings: The settings.
        carry: Brings the broadcast to clients.
    """
    asked = sampled_clients(settings, state.round)
    message = broadcast(held(state.parameters, layout), state.round)
    messages = carry(message, asked)
    replies, dropped = checked_replies(messages, layout, state.round, digest(message))
    new = replace(state, round=state.round + 1)
    if replies:
        new = server_step(state, layout, settings, summed([*replies.values()]))
    score = math.nan
    if new.round % settings.score_every == 0 or new.round == settings.rounds:
        score = population.score(held(new.parameters, layout)).mean
    headers = [each.header for each in replies.values()]
    row: Row = {
        "round": new.round,
        "asked": len(asked),
        "answers": len(replies),
        **{fault: dropped[fault] for fault in FAULTS},
        "bytes_down": len(message) * len(asked),
        "bytes_up": sum(len(each) for each in messages.values() if each is not None),
        "client_score": fmean(each.score for each in headers) if headers else math.nan,
        "moved": fmean(each.moved for each in headers) if headers else math.nan,
        "score": score,
    }
    return replace(new, rows=(*state.rows, row))


def keep(folder: Path, state: ServerState, about: dict[str, Any]) -> None:
    """Write the checkpoint and the log of the rounds, each in one stroke."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [*state.rows[0]], lineterminator="\n")
    writer.writeheader()
    writer.writerows(state.rows)
    write_atomically(folder / PROGRESS, text.getvalue().encode())
    content = about | {"round": state.round, "rows": [[*map(_plain, row.values())] for row in state.rows]}
    content["columns"] = [*state.rows[0]]
    tensors = {f"parameters/{name}": tensor for name, tensor in state.parameters.items()}
    tensors |= {f"moments/{name}": tensor for name, tensor in state.moments.items()}
    write_tensors(folder / STATE, KIND, json.dumps(content), tensors)


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value


def resumed(folder: Path | None, begun: ServerState, about: dict[str, Any]) -> ServerState:
    """Return the state in a folder, or the one to begin with if it has none; the folder is made.

    Raise Refusal if it is of another federation, or if the folder holds something else.
    """
    if folder is None:
        return begun
    if not (folder / STATE).exists():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise Refusal(f"{folder} holds something else than a federation: choose a new folder")
        folder.mkdir(parents=True, exist_ok=True)
        return begun
    text, tensors = read_tensors(folder / STATE, KIND)
    content = json.loads(text)
    for part, mine in about.items():
        for name, value in json.loads(json.dumps(mine)).items():
            if content[part].get(name) != value:
                raise Refusal(
                    f"{folder} holds a federation with {name} {content[part].get(name)}, and {value} is asked for: "
                    "choose a new folder"
                )
    columns = content["columns"]
    rows = [dict(zip(columns, map(_number, row), strict=True)) for row in content["rows"]]
    parts = {
        part: {name.removeprefix(part): tensor for name, tensor in tensors.items() if name.startswith(part)}
        for part in ("parameters/", "moments/")
    }
    return ServerState(content["round"], parts["parameters/"], parts["moments/"], tuple(rows))


def _number(value: float | None) -> float:
    return math.nan if value is None else value
