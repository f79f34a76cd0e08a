"""Worker processes: a few, each with a block of environments; when one fails, all end."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

import cloudpickle
import gymnasium

from metarl.core.errors import NumericalFault, Refusal
from metarl.core.user_code import UserCodeError
from metarl.envs.from_gymnasium.source import Source

GRACE = 5.0  # seconds that environments have to close

# The child finds metarl and the user's modules where this process does.
START = "import sys; sys.path[:] = {path!r}; from metarl.envs.from_gymnasium.worker import main; main({ends!r})"


class Workers:
    """Processes that each run a Block.

    They are forked from a child that has imported the user's modules, once for all. The child is a fresh interpreter,
    because this process has threads and must not be forked. It ends when its workers have ended, and these end when
    the connection to this process closes, however this process ends.
    """

    def __init__(self, source: Source, count: int) -> None:
        self.name, self.busy = source.name, False
        pickled = pickle(source)
        self.connections: list[Connection[Any, Any]] = []
        theirs: list[socket.socket] = []
        try:
            for _ in range(count):
                our_end, their_end = socket.socketpair()
                self.connections.append(Connection(our_end.detach()))
                theirs.append(their_end)
            self.child = start(theirs)
        except OSError as error:
            self._disconnect()
            raise Refusal(
                f"{count} worker processes for {self.name} cannot be started: {error.strerror}; this process may open "
                f"{resource.getrlimit(resource.RLIMIT_NOFILE)[0]} files (ulimit -n)"
            ) from None
        finally:
            for end in theirs:
                end.close()
        assert self.child.stdin is not None
        with contextlib.suppress(BrokenPipeError), self.child.stdin as stdin:  # call notices a child that has died
            stdin.write(pickled)

    def call(self, method: str, *columns: Sequence[Any], seconds: float | None = None) -> list[Any]:
        """Call a method of the workers' Blocks at once and return their answers.

        Args:
            method: its name.
            columns: for each argument, the workers' values; with fewer values than workers the rest stay idle.
            seconds: that the answers may take, None for ever.

        Returns:
            An answer for each value. If an environment fails or a worker dies, all end and UserCodeError is raised; a
            NumericalFault leaves them running.
        """
        self.busy = True
        try:
            return self._call(method, columns, seconds)
        finally:
            self.busy = False

    def _call(self, method: str, columns: Sequence[Sequence[Any]], seconds: float | None) -> list[Any]:
        asked = []
        for connection, *arguments in zip(self.connections, *columns, strict=False):
            with contextlib.suppress(BrokenPipeError):
                connection.send((method, arguments))
            asked.append(connection)
        answers: dict[Connection[Any, Any], Any] = {}
        while len(answers) < len(asked):
            ready = wait([connection for connection in asked if connection not in answers], seconds)
            if not ready:
                self.kill()
                raise UserCodeError(f"{method} of {self.name} was ended: it took longer than {seconds:g} s")
            for connection in ready:
                assert isinstance(connection, Connection)
                answers[connection] = self._receive(connection)
        for answer in answers.values():
            if isinstance(answer, NumericalFault):
                raise answer
        return [answers[connection] for connection in asked]

    def close(self) -> None:
        """Let the workers close their environments, and kill those that take too long.

        Another thread may be in a call: an environment hangs in it, and the call fails.
        """
        if self.busy:
            self._kill_processes()
            return
        self._disconnect()
        try:
            self.child.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End all processes at once."""
        self._kill_processes()
        self._disconnect()

    def _kill_processes(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait()

    def _receive(self, connection: Connection[Any, Any]) -> Any:
        try:
            answer = connection.recv()
        except (EOFError, OSError):
            raise UserCodeError(self._cause_of_death()) from None
        if isinstance(answer, Exception) and not isinstance(answer, NumericalFault):
            self.kill()
            raise answer
        return answer

    def _cause_of_death(self) -> str:
        """End all processes and return what the child has told of the one that died, by its exit code."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.wait(GRACE)
        code = self.child.poll()
        self.kill()
        if code is not None and code > 128:
            number = code - 128
            name = signal.Signals(number).name if number in list(signal.Signals) else "unknown"
            reason = f"was ended by signal {number}, {name}"
            hint = ": is there enough memory?" if number == signal.SIGKILL else ""
            return f"a worker process with environments of {self.name} {reason}{hint}"
        return f"a worker process with environments of {self.name} ended by itself with exit code {code}"

    def _disconnect(self) -> None:
        for connection in self.connections:
            connection.close()


def pickle(source: Source) -> bytes:
    """Return as bytes what a worker needs: the environments that the user has registered, and the source.

    Raise Refusal if the user's functions cannot be handed to another process.
    """
    try:
        pickled: bytes = cloudpickle.dumps((registered_specs(), source))
    except Exception as error:
        raise Refusal(
            f"make_env and set_task of {source.name} cannot be handed to worker processes "
            f"({type(error).__name__}: {error}): say processes=False"
        ) from error
    return pickled


def registered_specs() -> list[bytes]:
    """Return the specifications of environments that are neither Gymnasium's nor metarl's, each as bytes.

    A worker registers them, because it does not import a script or a module that has registered them here. One that
    cannot be handed over is left out.
    """
    specs = []
    for spec in gymnasium.registry.values():
        if not str(spec.entry_point).startswith(("gymnasium.", "metarl.")):
            with contextlib.suppress(Exception):
                specs.append(cloudpickle.dumps(spec))
    return specs


def start(ends: Sequence[socket.socket]) -> subprocess.Popen[bytes]:
    """Start the child that forks a worker for each connection; it reads the source from its standard input."""
    numbers = [end.fileno() for end in ends]
    command = [sys.executable, "-c", START.format(path=sys.path, ends=numbers)]
    # Several threads per worker would fight for the cores. A session of its own keeps the terminal's Ctrl-C away.
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    return subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=numbers, start_new_session=True, env=environment)
