"""Federated rounds against one training on all data together, and against formulas written anew."""

import gc
import json
import math
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch
from small_federation import Fitting, layout, loss, settings
from torch import Tensor

from metarl.core.errors import NumericalFault, Refusal
from metarl.fleet.federated import client as client_module
from metarl.fleet.federated.client import answer
from metarl.fleet.federated.messages import (
    Broken,
    ReplyHeader,
    broadcast,
    digest,
    read_broadcast,
    read_reply,
    reply,
)
from metarl.fleet.federated.quantizer import largest_integer, quantize
from metarl.fleet.federated.rounds import STATE, federate, in_process
from metarl.fleet.federated.server import Total, initial_server, server_step, summed
from metarl.fleet.federated.settings import FederationSettings, client_random, sampled_clients
from metarl.fleet.federated.weights import ClientWeights, held
from metarl.policies.networks.network import Parameters

POPULATION = Fitting()
EVERYBODY = tuple(range(6))


def after_one_round(asked: FederationSettings) -> Parameters:
    """What a server holds after one round of all clients."""
    agreed = layout(POPULATION, asked.bits)
    state = initial_server(POPULATION.start(), agreed)
    message = broadcast(held(state.parameters, agreed), 0)
    answers = in_process(POPULATION, agreed, asked)(message, EVERYBODY)
    replies = [read_reply(answers[client], agreed, 0, digest(message)) for client in EVERYBODY]
    return server_step(state, agreed, asked, summed(replies)).parameters


def straight_through(weights: Tensor, bits: int, scale_follows: bool) -> Tensor:
    scale = weights.abs().amax() / largest_integer(bits)
    if not scale_follows:
        scale = scale.detach()
    steps = weights / scale
    return scale * (steps + (steps.round() - steps).detach())


@pytest.mark.parametrize("relay", [False, True])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_round_of_all_clients_is_a_step_of_centralized_training_on_the_pooled_batch(bits: int, relay: bool) -> None:
    asked = settings(bits=bits, relay=relay, learning_rate=0.5)
    leaves = {
        name: tensor.clone().requires_grad_(name in POPULATION.trained) for name, tensor in POPULATION.start().items()
    }
    seen = leaves | {
        f"{layer}.weight": straight_through(leaves[f"{layer}.weight"], bits, scale_follows=relay)
        for layer in ("layer1", "layer2")
    }
    inputs, wanted = (torch.cat(parts) for parts in zip(*map(POPULATION.data, EVERYBODY), strict=True))
    loss(POPULATION.network(seen, inputs)[0], wanted).backward()
    new = after_one_round(asked)
    for name in POPULATION.trained:
        gradient = leaves[name].grad
        assert gradient is not None
        assert torch.allclose(new[name], leaves[name].detach() - 0.5 * gradient, atol=1e-5), name


def test_floats_give_plain_federated_sgd_bit_for_bit() -> None:
    asked = settings(bits=32, learning_rate=0.1)
    parameters = dict(POPULATION.start())
    for _ in range(asked.rounds):
        total = {name: torch.zeros_like(parameters[name], dtype=torch.float64) for name in POPULATION.trained}
        for client in EVERYBODY:
            inputs, wanted = POPULATION.data(client)
            leaves = {name: tensor.detach().requires_grad_() for name, tensor in parameters.items()}
            value = loss(POPULATION.network(leaves, inputs)[0], wanted)
            gradients = torch.autograd.grad(value, [leaves[name] for name in POPULATION.trained])
            for name, gradient in zip(POPULATION.trained, gradients, strict=True):
                total[name] += POPULATION.points * gradient.double()
        for name, each in total.items():
            parameters[name] = parameters[name] - 0.1 * (each / (6 * POPULATION.points)).float()
    outcome = federate(POPULATION, asked)
    assert all(torch.equal(outcome.controller.parameters[name], parameters[name]) for name in parameters)


def test_sixteen_bits_stay_near_floats() -> None:
    exact, rounded = dict(POPULATION.start()), dict(POPULATION.start())
    inputs, wanted = (torch.cat(parts) for parts in zip(*map(POPULATION.data, EVERYBODY), strict=True))
    for _ in range(10):
        for parameters, bits in ((exact, 32), (rounded, 16)):
            seen = {
                name: (quantize(each, bits).floats() if bits == 16 and each.dim() == 2 else each).requires_grad_()
                for name, each in parameters.items()
            }
            value = loss(POPULATION.network(seen, inputs)[0], wanted)
            gradients = torch.autograd.grad(value, [seen[name] for name in POPULATION.trained])
            for name, gradient in zip(POPULATION.trained, gradients, strict=True):
                parameters[name] = parameters[name].detach() - 0.05 * gradient
    assert all((exact[name] - rounded[name]).abs().max() < 1e-3 for name in POPULATION.trained)


def test_one_local_step_on_floats_is_a_step_of_the_server() -> None:
    by_gradients = after_one_round(settings(bits=32, learning_rate=0.1))
    by_changes = after_one_round(settings(bits=32, learning_rate=0.1, mode="fedavg"))
    assert all(torch.allclose(by_gradients[name], by_changes[name], atol=1e-6) for name in by_gradients)


@pytest.mark.parametrize(("rounding", "moves"), [("nearest", False), ("chance", True)])
def test_a_small_local_step_is_lost_unless_chance_rounds(rounding: str, moves: bool) -> None:
    asked = settings(bits=4, mode="fedavg", rounding=rounding, learning_rate=1e-5)
    agreed = layout(POPULATION, 4)
    message = broadcast(held(POPULATION.start(), agreed), 0)
    header, update = read_reply(answer(message, agreed, asked, POPULATION, 1), agreed, 0, digest(message))
    names = {name: POPULATION.start()[name].numel() for name in agreed.trained}
    parts = dict(zip(names, update.split([*names.values()]), strict=True))
    scale = float(quantize(POPULATION.start()["layer2.weight"], 4).scale)
    assert (header.moved > 0) is moves
    assert bool(parts["layer2.weight"].abs().max() > scale / 2) is moves
    assert parts["layer3.weight"].any()  # floats move in any case


def test_the_server_needs_the_sum_alone() -> None:
    asked = settings(bits=4, relay=True)
    agreed = layout(POPULATION, 4)
    state = initial_server(POPULATION.start(), agreed)
    message = broadcast(held(state.parameters, agreed), 0)
    answers = in_process(POPULATION, agreed, asked)(message, EVERYBODY)
    replies = [read_reply(answers[client], agreed, 0, digest(message)) for client in EVERYBODY]
    # Each pair of clients adds and subtracts a mask that they share: the server sees noise, and the right sum.
    masked = [each.header.examples * each.update.double() for each in replies]
    random = torch.Generator().manual_seed(0)
    for first in EVERYBODY:
        for second in range(first):
            mask = 100 * torch.randn(len(masked[0]), generator=random, dtype=torch.float64)
            masked[first], masked[second] = masked[first] + mask, masked[second] - mask
    total = Total(torch.stack(masked).sum(dim=0), sum(each.header.examples for each in replies))
    plain, secure = (server_step(state, agreed, asked, each).parameters for each in (summed(replies), total))
    assert all(torch.allclose(plain[name], secure[name], atol=1e-6) for name in plain)


@pytest.mark.parametrize("bits", [2, 4, 8, 32])
def test_a_broadcast_carries_its_bytes_and_no_more(bits: int) -> None:
    agreed = layout(POPULATION, bits)
    parameters = POPULATION.start()
    message = broadcast(held(parameters, agreed), 3)
    matrices = {"layer1.weight", "layer2.weight"} if bits < 32 else set()
    expected = sum(
        math.ceil(tensor.numel() * bits / 8) + 4 if name in matrices else 4 * tensor.numel()
        for name, tensor in parameters.items()
    )
    tensors = safetensors.torch.load(message)
    assert sum(each.numel() * each.element_size() for each in tensors.values()) == expected == agreed.payload_bytes
    assert expected < len(message) < expected + 350
    number, weights = read_broadcast(message, agreed)
    assert number == 3
    expected_floats = {
        name: quantize(tensor, bits).floats() if name in matrices else tensor for name, tensor in parameters.items()
    }
    received = weights.parameters()
    assert all(torch.equal(received[name], expected_floats[name]) for name in parameters)


def test_no_two_matrices_are_floats_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[Tensor]] = []
    alive: list[int] = []
    matrix = ClientWeights.matrix

    def watched(self: ClientWeights, name: str) -> Tensor:
        gc.collect()
        alive.append(sum(each() is not None for each in made))
        floats = matrix(self, name)
        made.append(weakref.ref(floats))
        return floats

    monkeypatch.setattr(ClientWeights, "matrix", watched)
    weights = held(POPULATION.start(), layout(POPULATION, 8))
    POPULATION.gradient(0, weights, client_random(settings(), 0, 0))
    assert len(made) == 4  # of two layers, forward and backward
    assert alive == [0, 0, 0, 0]


def interrupted(rounds: int) -> Iterator[int]:
    yield from range(rounds)
    raise KeyboardInterrupt


def test_an_interrupted_federation_ends_with_the_same_bytes(tmp_path: Path) -> None:
    asked = settings(bits=4, relay=True, rounds=5, per_round=3, optimizer="adam")
    federate(POPULATION, asked, tmp_path / "whole")
    turns = interrupted(2)
    with pytest.raises(KeyboardInterrupt):
        federate(POPULATION, asked, tmp_path / "parts", on_round=lambda row: next(turns))
    told: list[float] = []
    federate(POPULATION, asked, tmp_path / "parts", on_round=lambda row: told.append(row["round"]))
    assert told == [4, 5]
    for name in (STATE, "progress.csv", "controller.safetensors"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    federate(POPULATION, settings(), tmp_path / "run")
    before = (tmp_path / "run" / STATE).read_bytes()
    with pytest.raises(Refusal, match="a federation with bits 8, and 4 is asked for"):
        federate(POPULATION, settings(bits=4), tmp_path / "run")
    assert (tmp_path / "run" / STATE).read_bytes() == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(Refusal, match="something else than a federation"):
        federate(POPULATION, settings(), tmp_path / "other")


def test_rounds_ask_clients_that_follow_from_the_seed() -> None:
    asked = settings(clients=50, per_round=7)
    rounds = [sampled_clients(asked, number) for number in range(4)]
    assert rounds == [sampled_clients(asked, number) for number in range(4)]
    assert len(set(rounds)) == 4
    assert all(len(set(each)) == 7 and max(each) < 50 for each in rounds)
    assert rounds != [sampled_clients(settings(clients=50, per_round=7, seed=1), number) for number in range(4)]


GOOD = ReplyHeader(3, "a" * 16, 5, 0.5, 0.0)
FAULTY = {
    "no answer": (None, "silent"),
    "noise": (b"\x00" * 40, "damaged"),
    "an older round": (ReplyHeader(2, "a" * 16, 5, 0.5, 0.0), "wrong round"),
    "another broadcast": (ReplyHeader(3, "b" * 16, 5, 0.5, 0.0), "wrong round"),
    "no examples": (ReplyHeader(3, "a" * 16, 0, 0.5, 0.0), "damaged"),
    "a fraction": (ReplyHeader(3, "a" * 16, 1.5, 0.5, 0.0), "damaged"),  # type: ignore[arg-type]
    "a score of nothing": (ReplyHeader(3, "a" * 16, 5, math.nan, 0.0), "damaged"),
}


@pytest.mark.parametrize("case", FAULTY)
def test_faulty_answers_are_told_apart(case: str) -> None:
    agreed = layout(POPULATION, 8)
    content, fault = FAULTY[case]
    message = content if not isinstance(content, ReplyHeader) else reply(content, POPULATION.start(), agreed)
    with pytest.raises(Broken) as caught:
        read_reply(message, agreed, 3, "a" * 16)
    assert caught.value.fault == fault
    assert read_reply(reply(GOOD, POPULATION.start(), agreed), agreed, 3, "a" * 16).header == GOOD


@pytest.mark.parametrize(("update", "fault"), [
    (torch.zeros(3), "wrong shape"), (None, "wrong shape"), (torch.nan, "not finite"), (torch.inf, "not finite"),
])  # fmt: skip
def test_wrong_numbers_are_told_apart(update: Tensor | float | None, fault: str) -> None:
    agreed = layout(POPULATION, 8)
    numbers = torch.zeros(sum(POPULATION.start()[name].numel() for name in agreed.trained))
    if isinstance(update, float):
        numbers[7] = update
    elif update is None:
        numbers = numbers.double()
    else:
        numbers = update
    message = safetensors.torch.save({"update": numbers}, {"metarl": json.dumps(vars(GOOD))})
    with pytest.raises(Broken) as caught:
        read_reply(message, agreed, 3, "a" * 16)
    assert caught.value.fault == fault


def test_a_round_goes_on_without_those_that_fail_and_ends_when_nobody_answers() -> None:
    asked = settings(bits=4, rounds=1)
    agreed = layout(POPULATION, 4)
    whole = in_process(POPULATION, agreed, asked)

    def some(message: bytes, clients: tuple[int, ...]) -> dict[int, bytes | None]:
        answers = dict(whole(message, clients))
        return answers | {0: None, 1: b"noise", 2: answers[2][:-1] if answers[2] else None}

    outcome = federate(POPULATION, asked, carrier=some)
    assert {name: outcome.rows[0][name] for name in ("asked", "answers", "silent", "damaged")} == {
        "asked": 6, "answers": 3, "silent": 1, "damaged": 2,
    }  # fmt: skip
    assert outcome.rows[0]["client_score"] == 4  # the mean of 3, 4 and 5: who was dropped does not count
    with pytest.raises(NumericalFault, match="for 5 rounds"):
        federate(POPULATION, settings(rounds=9), carrier=lambda message, clients: dict.fromkeys(clients))


def test_a_client_that_meets_a_nan_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    def gradient(*arguments: object) -> None:
        raise NumericalFault("the gradient is not finite")

    monkeypatch.setitem(vars(client_module), "gradient_at", gradient)
    agreed = layout(POPULATION, 8)
    message = broadcast(held(POPULATION.start(), agreed), 0)
    assert in_process(POPULATION, agreed, settings())(message, (0, 1)) == {0: None, 1: None}


def test_a_client_refuses_a_broadcast_of_another_model() -> None:
    message = broadcast(held(POPULATION.start(), layout(POPULATION, 8)), 0)
    with pytest.raises(Refusal, match="4 bits"):
        read_broadcast(message, layout(POPULATION, 4))
    with pytest.raises(Refusal, match="no message"):
        read_broadcast(b"abc", layout(POPULATION, 4))


@pytest.mark.parametrize(("wrong", "words"), [
    ({"per_round": 7}, "at most all 6 clients, got 7"), ({"bits": 3}, "bits"), ({"bits": 32, "relay": True}, "relay"),
    ({"mode": "fedavg", "relay": True}, "relay is for fedsgd"), ({"mode": "fedavg", "optimizer": "adam"}, "adam"),
    ({"local_steps": 2}, "for fedavg"), ({"rounding": "chance"}, "for fedavg"), ({"rounds": 0}, "rounds"),
    ({"skew": -1.0}, "skew"), ({"learning_rate": 0.0}, "learning_rate"), ({"clients": 0}, "clients"),
])  # fmt: skip
def test_settings_that_cannot_be(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(Refusal, match=words):
        settings(**wrong)
