"""A federation over gRPC: the server waits for robots, which connect from wherever they are and ask for work.

There is one service with three calls of plain bytes, without generated code:

* ``Join``: a client's number; returns the settings and what the clients compute, as JSON.
* ``Next``: a client's number; returns a broadcast if the client is asked in the running round, NOTHING_YET if it is not
  asked, and OVER after the last round.
* ``Answer``: a client's number and its reply. The server drops what it cannot use.
"""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

from metarl.core.errors import NumericalFault, Refusal
from metarl.fleet.federated.client import answer
from metarl.fleet.federated.rounds import Population
from metarl.fleet.federated.settings import FederationSettings
from metarl.fleet.federated.weights import Layout

SERVICE = "metarl.Federation"
NOTHING_YET, OVER = b"", b"over"
POLL = 1.0  # seconds for which the server lets a client wait for work before it tells that there is none yet
FAREWELL = 30.0  # seconds after the last round in which clients that are there can hear that it is over
NUMBER = struct.Struct("<I")
OPTIONS = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]
THREADS_MORE = 4  # than clients, for those that try again


class Post:
    """The messages of the running round, between the server's rounds and the threads that serve clients."""

    def __init__(self, welcome: bytes, clients: int) -> None:
        self.welcome, self.clients = welcome, clients
        self.changed = threading.Condition()
        self.joined: set[int] = set()
        self.message = b""
        self.waiting: set[int] = set()  # of the clients that the round asked, those that have not answered yet
        self.told: set[int] = set()  # those that have got the round's broadcast
        self.answers: dict[int, bytes] = {}
        self.absent = set(range(clients))  # those that have not called since they failed to answer
        self.over = False
        self.dismissed: set[int] = set()  # those that have heard that it is over

    def carry(self, message: bytes, asked: tuple[int, ...], timeout: float) -> dict[int, bytes | None]:
        """Offer a broadcast to clients; return their answers when all are there, or when the time is over.

        A client that did not answer is not waited for again until it calls: one that died costs one wait.
        """
        with self.changed:
            self.message, self.waiting, self.answers, self.told = message, set(asked), {}, set()
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.waiting <= self.absent, timeout)
            self.absent |= self.waiting
            self.waiting = set()
            return {client: self.answers.get(client) for client in asked}

    def wait_for_clients(self, timeout: float) -> int:
        """Return how many clients have joined, when all have or when the time is over."""
        with self.changed:
            self.changed.wait_for(lambda: len(self.joined) == self.clients, timeout)
            return len(self.joined)

    def finish(self, patience: float) -> None:
        """Tell clients that the rounds are over, and wait until those that are there have heard it."""
        with self.changed:
            self.over = True
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.joined <= self.absent | self.dismissed, patience)

    def join(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        """Serve ``Join``."""
        client = self._client(request, context)
        with self.changed:
            self.joined.add(client)
            self.absent.discard(client)
            self.changed.notify_all()
        return self.welcome

    def next(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        """Serve ``Next``; a broadcast is handed to a client once."""
        client = self._client(request, context)
        with self.changed:
            self.absent.discard(client)
            self.changed.wait_for(lambda: self.over or client in self.waiting - self.told, POLL)
            if self.over:
                self.dismissed.add(client)
                self.changed.notify_all()
                return OVER
            if client in self.waiting - self.told:
                self.told.add(client)
                return self.message
            return NOTHING_YET

    def answer(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        """Serve ``Answer``: keep the first one of each client that the round asked."""
        client = self._client(request, context)
        with self.changed:
            if client in self.waiting:
                self.answers[client] = request[NUMBER.size :]
                self.waiting.discard(client)
                self.changed.notify_all()
        return b""

    def _client(self, request: bytes, context: grpc.ServicerContext) -> int:
        """Return the client's number, with which every request begins; end the call if there is no such client."""
        if len(request) < NUMBER.size or NUMBER.unpack_from(request)[0] >= self.clients:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"clients have the numbers 0 to {self.clients - 1}")
        return int(NUMBER.unpack_from(request)[0])


@contextmanager
def serving(address: str, post: Post) -> Iterator[str]:
    """Serve clients at HOST:PORT, and yield the address with the port taken, if it was 0.

    The connection is not encrypted: serve on the loopback, or inside a tunnel. Refusal if the address cannot be had.
    """
    calls = {"Join": post.join, "Next": post.next, "Answer": post.answer}
    handlers = {name: grpc.unary_unary_rpc_method_handler(call) for name, call in calls.items()}
    executor = ThreadPoolExecutor(post.clients + THREADS_MORE, thread_name_prefix="federation")
    server = grpc.server(executor, options=OPTIONS)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    try:
        port = server.add_insecure_port(address)
    except RuntimeError:
        raise Refusal(f"cannot serve at {address}: give HOST:PORT of this machine with a free port") from None
    server.start()
    try:
        yield f"{address.rpartition(':')[0]}:{port}"
        post.finish(FAREWELL)
    finally:
        post.finish(0)
        server.stop(POLL).wait()
        executor.shutdown()


class Connection:
    """A client's connection to a server."""

    def __init__(self, address: str, client: int, patience: float) -> None:
        self.client, self.patience = client, patience
        self.channel = grpc.insecure_channel(address, options=OPTIONS)
        self.address = address

    def call(self, name: str, content: bytes = b"") -> bytes:
        """Return what a call of the service returns; raise Refusal if the server cannot be reached, or refuses."""
        method = self.channel.unary_unary(f"/{SERVICE}/{name}")
        try:
            returned: bytes = method(NUMBER.pack(self.client) + content, timeout=self.patience, wait_for_ready=True)
        except grpc.RpcError as error:
            details = error.details() if isinstance(error, grpc.Call) else str(error)
            raise Refusal(f"the server at {self.address} does not serve client {self.client}: {details}") from None
        return returned

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()


def take_part(
    connection: Connection,
    population: Population,
    layout: Layout,
    settings: FederationSettings,
    on_answer: Callable[[int], None] = lambda done: None,
) -> int:
    """Answer the rounds that ask this client until the federation is over; return how many those were.

    Args:
        connection: To the server.
        population: The clients, of which this is one.
        layout: What was agreed on.
        settings: The settings of the federation.
        on_answer: Is told how many rounds are answered.

    Raises:
        Refusal: If the server cannot be reached any more, or sends something else than a broadcast.
    """
    answered = 0
    while (message := connection.call("Next")) != OVER:
        if message == NOTHING_YET:
            continue
        try:
            content = answer(message, layout, settings, population, connection.client)
        except NumericalFault:
            continue  # the server counts the client as silent
        connection.call("Answer", content)
        answered += 1
        on_answer(answered)
    return answered


def welcome(settings: dict[str, Any], about: dict[str, Any], controller: str | None, layout: Layout) -> bytes:
    """Return what ``Join`` tells a client.

    Args:
        settings: Of the federation.
        about: What the clients are.
        controller: Network and metadata of a policy as JSON; None of images.
        layout: Whose shapes tell the parameters.
    """
    shapes = {name: list(shape) for name, shape in layout.shapes.items()}
    content = {"settings": settings, "clients": about, "controller": controller, "shapes": shapes}
    return json.dumps(content).encode()
