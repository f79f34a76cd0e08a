"""The other end of Workers: a process that loads the user's environments and forks the workers that step them."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import traceback
import warnings
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

import gymnasium

from metarl.core.errors import NumericalFault, Refusal
from metarl.core.user_code import user_code
from metarl.envs.from_gymnasium.block import Block
from metarl.envs.from_gymnasium.source import Source


def main(ends: Sequence[int]) -> None:
    """Load the source from standard input and run a worker for each connection, until all have ended."""
    warnings.simplefilter("ignore")  # the first process has shown what the user's modules warn of
    connections: list[Connection[Any, Any]] = [Connection(end) for end in ends]
    try:
        with user_code("loading the environments in a worker process"):
            specs, source = pickle.loads(sys.stdin.buffer.read())
            for spec in map(pickle.loads, specs):
                gymnasium.registry.setdefault(spec.id, spec)
    except (Refusal, NumericalFault) as error:
        for connection in connections:
            connection.send(error)
        return
    workers = {fork(connections, index, source) for index in range(len(connections))}
    for connection in connections:
        connection.close()
    while workers:
        worker, status = os.wait()
        workers.discard(worker)
        code = os.waitstatus_to_exitcode(status)
        if code:
            for other in workers:
                os.kill(other, signal.SIGKILL)
            # A shell's way to tell a signal, which waitstatus_to_exitcode makes negative.
            sys.exit(code if code > 0 else 128 - code)


def fork(connections: Sequence[Connection[Any, Any]], index: int, source: Source) -> int:
    """Start the worker that answers one of the connections and return its process id."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        for other in connections:
            if other is not connections[index]:
                other.close()
        serve(connections[index], source)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def serve(connection: Connection[Any, Any], source: Source) -> None:
    """Call the Block's methods as they are asked for, and answer with the result or the error."""
    block = Block(source)
    while True:
        try:
            method, arguments = connection.recv()
        except EOFError:
            break
        try:
            answer = getattr(block, method)(*arguments)
        except (Refusal, NumericalFault) as error:
            error.add_note(f"In the worker process:\n{traceback.format_exc()}")
            answer = error
        try:
            connection.send(answer)
        except BrokenPipeError:
            break
    block.close()
