"""A federation over real loopback connections: what clients do wrong costs them alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import safetensors.torch
import torch
from command_line import metarl
from small_federation import Fitting, layout, settings

from metarl.core.errors import Refusal
from metarl.fleet.federated import serving as module
from metarl.fleet.federated.client import answer
from metarl.fleet.federated.messages import opened
from metarl.fleet.federated.rounds import Outcome, federate
from metarl.fleet.federated.serving import NOTHING_YET, OVER, Connection, Post, serving, take_part, welcome

POPULATION = Fitting()
Behavior = Callable[[bytes], bytes | None]  # from an honest answer to what is sent, None for nothing


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL", 0.2)


def altered(**changes: object) -> Behavior:
    """An answer whose header says something else."""

    def alter(message: bytes) -> bytes:
        header, tensors = opened(message)
        return safetensors.torch.save(tensors, {"metarl": json.dumps(header | changes)})

    return alter


def with_update(change: Callable[[torch.Tensor], torch.Tensor]) -> Behavior:
    """An answer with other numbers."""

    def alter(message: bytes) -> bytes:
        header, tensors = opened(message)
        return safetensors.torch.save({"update": change(tensors["update"])}, {"metarl": json.dumps(header)})

    return alter


def served(asked: object, behaviors: dict[int, Behavior], timeout: float = 3.0) -> Outcome:
    """Runs a federation whose clients are threads, each with a connection of its own."""
    asked = settings(**asked)  # type: ignore[arg-type]
    agreed = layout(POPULATION, asked.bits)
    post = Post(welcome(asdict(asked), POPULATION.about(), None, agreed), asked.clients)

    def behave(address: str, client: int) -> None:
        with Connection(address, client, 10) as connection:
            assert json.loads(connection.call("Join"))["clients"] == POPULATION.about()
            if client not in behaviors:
                take_part(connection, POPULATION, agreed, asked)
                return
            while (message := connection.call("Next")) != OVER:
                if message != NOTHING_YET:
                    sent = behaviors[client](answer(message, agreed, asked, POPULATION, client))
                    if sent is not None:
                        connection.call("Answer", sent)

    with serving("127.0.0.1:0", post) as address:
        threads = [threading.Thread(target=behave, args=(address, client)) for client in range(asked.clients)]
        for thread in threads:
            thread.start()
        assert post.wait_for_clients(20) == asked.clients
        outcome = federate(POPULATION, asked, carrier=lambda message, chosen: post.carry(message, chosen, timeout))
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    return outcome


@pytest.mark.parametrize("mode", ["fedsgd", "fedavg"])
def test_clients_on_connections_give_the_numbers_of_clients_in_the_process(mode: str) -> None:
    asked = {"bits": 4, "mode": mode, "per_round": 4}
    outcome, expected = served(asked, {}, timeout=60), federate(POPULATION, settings(**asked))
    parameters = outcome.controller.parameters
    assert all(torch.equal(parameters[name], each) for name, each in expected.controller.parameters.items())
    assert str(outcome.rows) == str(expected.rows)  # NaN and all


def test_what_clients_do_wrong_costs_them_alone() -> None:
    behaviors: dict[int, Behavior] = {
        0: altered(round=7),
        1: with_update(lambda update: update * torch.nan),
        2: with_update(lambda update: update[:-1]),
        3: lambda message: b"noise",
        4: lambda message: None,
    }
    asked = {"bits": 4, "rounds": 2}
    outcome = served(asked, behaviors)
    counted = {
        name: outcome.rows[-1][name] for name in ("answers", "wrong round", "not finite", "wrong shape", "damaged")
    }
    assert counted == {"answers": 1, "wrong round": 1, "not finite": 1, "wrong shape": 1, "damaged": 1}
    assert outcome.rows[-1]["silent"] == 1

    def honest_alone(message: bytes, clients: tuple[int, ...]) -> dict[int, bytes | None]:
        honest = answer(message, layout(POPULATION, 4), settings(**asked), POPULATION, 5)
        return dict.fromkeys(clients) | {5: honest}

    expected = federate(POPULATION, settings(**asked), carrier=honest_alone)
    parameters = outcome.controller.parameters
    assert all(torch.equal(parameters[name], each) for name, each in expected.controller.parameters.items())


def test_a_stranger_is_refused_and_an_address_that_is_taken_too() -> None:
    agreed = layout(POPULATION, 8)
    post = Post(welcome({}, {}, None, agreed), 3)
    with serving("127.0.0.1:0", post) as address:
        with Connection(address, 3, 5) as connection, pytest.raises(Refusal, match="numbers 0 to 2"):
            connection.call("Join")
        with pytest.raises(Refusal, match="free port"), serving(address, post):
            pass
    with Connection(address, 0, 0.5) as connection, pytest.raises(Refusal, match="does not serve client 0"):
        connection.call("Join")


def test_an_answer_that_comes_too_late_is_not_taken_for_the_next_round() -> None:
    post = Post(b"", 2)
    post.absent = set()
    assert post.carry(b"first", (0,), 0.05) == {0: None}
    post.answer(module.NUMBER.pack(0) + b"late", None)  # type: ignore[arg-type]
    assert post.answers == {}
    assert post.carry(b"second", (0, 1), 0.05) == {0: None, 1: None}


def test_who_is_away_is_waited_for_once() -> None:
    post = Post(b"", 1)
    begun = time.monotonic()
    assert post.carry(b"first", (0,), 30) == {0: None}  # it never joined
    assert time.monotonic() - begun < 10
    request = module.NUMBER.pack(0)
    assert post.next(request, None) == NOTHING_YET  # type: ignore[arg-type]
    assert post.carry(b"second", (0,), 0.05) == {0: None}
    begun = time.monotonic()
    assert post.carry(b"third", (0,), 30) == {0: None}
    assert time.monotonic() - begun < 10
    assert post.next(request, None) == NOTHING_YET  # type: ignore[arg-type]
    assert post.absent == set()


COMMAND = [sys.executable, "-m", "metarl.experiments.cli", "federate"]
# More rounds than a fast machine gets through before the kill.
QUICK = (
    "--clients 2 --per-round 2 --rounds 100 --score-every 100 --bits 4 --relay --episodes 2 --horizon 5 --score-tasks 2"
)


@pytest.mark.slow
def test_a_client_process_that_is_killed_is_dropped_and_counted(tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = [*COMMAND, "navigation-2d", *QUICK.split(), "--threads", "1", "--out", str(out), "--timeout", "10"]
    log = tmp_path / "log"
    with log.open("wb") as file:
        server = subprocess.Popen([*words, "--serve", "127.0.0.1:0", "--json", str(tmp_path / "r.json")], stdout=file)
    clients: list[subprocess.Popen[bytes]] = []
    try:
        address = waited_for(lambda: next((each.split()[-1] for each in log.read_text().splitlines()), None))
        for client in range(2):
            clients.append(subprocess.Popen([*COMMAND, "join", address, "--client", str(client), "--threads", "1"]))  # noqa: PERF401
        waited_for((out / "progress.csv").exists)
        clients[1].send_signal(signal.SIGKILL)
        assert server.wait(240) == 0
        assert clients[0].wait(60) == 0
    finally:
        for process in (server, *clients):
            process.kill()
            process.wait()
    dropped = json.loads((tmp_path / "r.json").read_text())["dropped"]
    assert dropped["silent"] >= 1
    assert dropped == {name: dropped["silent"] if name == "silent" else 0 for name in dropped}
    evaluated = metarl("evaluate", out / "controller.safetensors", "--tasks", 2, "--threads", 1)
    assert evaluated.code == 0, evaluated


def waited_for(ready: Callable[[], object], seconds: float = 120) -> str:
    """The first true value, within some time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := ready():
            return str(value)
        time.sleep(0.1)
    raise TimeoutError(os.fspath(os.getcwd()))
