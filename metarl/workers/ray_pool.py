"""Workers of a Ray cluster: each is an actor, a process that keeps its object from one call to the next.

Ray is imported when workers are asked for. It is not told to start an actor anew: its object would have lost what it
held, so whoever calls repeats the work.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module, metadata
from typing import Any

from metarl.core.distribution import install_command
from metarl.core.errors import Refusal
from metarl.core.threads import available_threads
from metarl.core.version import __version__
from metarl.workers.pool import Traffic, WorkerLost, check_workers, pack, unpack

ANSWER_SECONDS = 30.0  # for a cluster to answer
START_SECONDS = 180.0  # for workers to start
STARTS_PER_NODE = 4  # at a time: importing torch takes a core for seconds
END_SECONDS = 5.0  # for a worker to close what its object holds
STORE_BYTES = 80_000_000  # of shared memory on this machine: what travels is of parameter size
INLINE_BYTES = 100_000  # Ray itself puts larger arguments into its store, once for each call


@dataclass(frozen=True)
class RayCluster:
    """A Ray cluster, and how many workers are wanted in it.

    Args:
        address: HOST:PORT of the cluster's head, ray://HOST:PORT from outside of it, or auto for the one that this
            machine belongs to. If left out, the connection that this process has, or else a cluster of its own on this
            machine, as long as the workers are needed.
        workers: How many; as many as there is room for if left out, at most one for each task.
    """

    address: str | None = None
    workers: int | None = None

    def check(self, tasks: int, where: str) -> None:
        """Raise Refusal if Ray is not installed, or there are more workers than tasks."""
        installed()
        if self.workers is not None:
            check_workers(self.workers, tasks, where)

    @contextmanager
    def pool(self, make: Callable[[], Any], threads: int, tasks: int) -> Iterator[RayPool]:
        """Yield a pool whose workers each hold what ``make`` returns; Refusal says why there is none.

        Args:
            make: Makes a worker's object; its ``close`` is called at the end.
            threads: Threads of each worker, which takes so many of the cluster's CPUs.
            tasks: The tasks that are dealt to the workers, of which there are no more than tasks.
        """
        own_cpus = threads * min(tasks, self.workers or max(1, available_threads() // threads))
        with connected(self.address, own_cpus) as ray:
            room = room_for(ray, threads)
            if room < (self.workers or 1):
                raise Refusal(
                    f"the Ray cluster has room for {room} workers of {threads} threads, and {self.workers or 1} are "
                    "asked for: take fewer workers or fewer --threads"
                )
            check_nodes(ray)
            pool = RayPool(ray, make, self.workers or min(room, tasks), threads)
            try:
                yield pool
            finally:
                pool.close()


class Holder:
    """What runs in a worker's process."""

    def hold(self, make: bytes, paths: Sequence[str]) -> None:
        """Make the object; ``paths`` are where the first process finds its modules, the user's among them."""
        sys.path += [path for path in paths if path not in sys.path]
        self.held = unpack(make)()

    def call(self, method: str, arguments: bytes) -> bytes:
        """Return the packed result of a method of the object."""
        return pack(getattr(self.held, method)(*unpack(arguments)))

    def alive(self) -> int:
        """Return the number of this process."""
        return os.getpid()

    def close(self) -> None:
        """Close the object."""
        self.held.close()


class RayPool:
    """Workers of a Ray cluster, each with an object of its own."""

    def __init__(self, ray: Any, make: Callable[[], Any], workers: int, threads: int) -> None:
        self.ray, self.make, self.threads, self.traffic = ray, pack(make), threads, Traffic()
        self.remote = ray.remote(num_cpus=threads, scheduling_strategy="SPREAD")(Holder)
        self.actors: list[Any] = []
        try:
            self.actors = self._started(workers)
            if len(self.actors) < workers:
                raise Refusal(
                    f"only {len(self.actors)} of {workers} workers of the Ray cluster started within {START_SECONDS:g} "
                    "seconds: others may be using it, so take fewer workers or try again"
                )
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        """Return the number of workers."""
        return len(self.actors)

    def call(
        self, method: str, *shared: Any, own: Sequence[Any] | None = None, workers: int | None = None
    ) -> list[Any]:
        """Call a method of the workers' objects and return the results in the order of workers.

        Args:
            method: The method's name.
            shared: Arguments that all workers get.
            own: One more argument for each worker, if they differ.
            workers: Call only so many of the first; all if left out.

        Returns:
            The results. WorkerLost if a worker has ended; an error that a worker's object raises is raised here.
        """
        actors = self.actors[:workers]
        packed = [pack(shared)] * len(actors) if own is None else [pack((*shared, each)) for each in own]
        self.traffic.rounds += 1
        self.traffic.sent += sum(map(len, packed))
        once = own is None and len(packed[0]) > INLINE_BYTES
        arguments = [self.ray.put(packed[0])] * len(actors) if once else packed
        answers = self._results(
            [actor.call.remote(method, each) for actor, each in zip(actors, arguments, strict=True)]
        )
        self.traffic.received += sum(map(len, answers))
        return [unpack(answer) for answer in answers]

    def restore(self) -> None:
        """Replace the workers that have ended; there are fewer afterwards if their nodes have ended, too."""
        wanted = len(self.actors)
        self.actors = [actor for actor, _ in self._answering(self.actors, "alive")]
        room = room_for(self.ray, self.threads) - len(self.actors)
        self.actors += self._started(max(0, min(wanted - len(self.actors), room)))
        if not self.actors:
            raise Refusal("all workers of the Ray cluster are lost, and no other one starts")

    def process_ids(self) -> list[int]:
        """Return the numbers of the workers' processes."""
        return [number for _, number in self._answering(self.actors, "alive")]

    def close(self) -> None:
        """Close what the workers hold, and end them."""
        if self.actors:
            self.ray.wait(
                [actor.close.remote() for actor in self.actors], num_returns=len(self.actors), timeout=END_SECONDS
            )
        for actor in self.actors:
            self.ray.kill(actor)
        self.actors = []

    def _started(self, workers: int) -> list[Any]:
        """Start workers, a few on each node at a time, and return those that are ready in time."""
        ready: list[Any] = []
        at_once = STARTS_PER_NODE * sum(node["Alive"] for node in self.ray.nodes())
        for begun in range(0, workers, at_once):
            actors = [self.remote.remote() for _ in range(min(at_once, workers - begun))]
            answering = [actor for actor, _ in self._answering(actors, "hold", self.make, sys.path)]
            ready += answering
            for actor in actors:
                if actor not in answering:
                    self.ray.kill(actor)
            if len(answering) < len(actors):
                break
        return ready

    def _answering(self, actors: Sequence[Any], method: str, *arguments: Any) -> list[tuple[Any, Any]]:
        """Return the actors that answer a call in time, each with its answer."""
        calls = [getattr(actor, method).remote(*arguments) for actor in actors]
        done = self.ray.wait(calls, num_returns=len(calls), timeout=START_SECONDS)[0] if calls else []
        answers = []
        for actor, call in zip(actors, calls, strict=True):
            if call in done:
                try:
                    answers.append((actor, self._results([call])[0]))
                except WorkerLost:
                    continue
        return answers

    def _results(self, calls: Sequence[Any]) -> list[Any]:
        exceptions = self.ray.exceptions
        try:
            results: list[Any] = self.ray.get(list(calls))
        except exceptions.RayTaskError as error:
            raise error.cause from None
        except (exceptions.RayActorError, exceptions.ObjectLostError):
            raise WorkerLost("a worker of the Ray cluster has ended") from None
        return results


def installed() -> Any:
    """Return Ray; raise Refusal if it is not installed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # without a word about graphics cards
    try:
        return import_module("ray")
    except ImportError:
        raise Refusal(f"workers of a Ray cluster need Ray, which is not installed: {install_command('ray')}") from None


@contextmanager
def connected(address: str | None, own_cpus: int) -> Iterator[Any]:
    """Yield Ray, connected to the cluster at an address, or to one of this process alone with so many CPUs.

    A connection that the process has already is used, and stays. Refusal if no cluster answers.
    """
    ray = installed()
    if ray.is_initialized():
        yield ray
        return
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        with kept_signals():
            if address is None:
                ray.init(
                    "local",
                    num_cpus=own_cpus,
                    num_gpus=0,
                    object_store_memory=STORE_BYTES,
                    include_dashboard=False,
                    **quiet,
                )
            else:
                require_answer(address)
                try:
                    ray.init(address, **quiet)
                except (ConnectionError, RuntimeError, ValueError) as error:
                    raise Refusal(f"cannot connect to the Ray cluster at {address}: {first_line(error)}") from None
        yield ray
    finally:
        with kept_signals():
            ray.shutdown()


@contextmanager
def kept_signals() -> Iterator[None]:
    """Keep the handlers of signals that Ray replaces as it starts."""
    try:
        before = signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM) or signal.SIG_DFL)
    except ValueError:  # not the main thread, where Ray replaces none
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def require_answer(address: str) -> None:
    """Raise Refusal unless a Ray cluster answers at the address within ANSWER_SECONDS."""
    if address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise Refusal(f"the address of a Ray cluster is HOST:PORT, ray://HOST:PORT or auto, got '{address}'")
    silent = Refusal(
        f"no Ray cluster answers at {address}: start one with 'ray start --head', or correct --ray-address"
    )
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS).close()
    except (OSError, OverflowError):
        raise silent from None
    if address.startswith("ray://"):
        return  # whose connection has a time limit of its own
    # Connecting to another server than Ray's would never end.
    words = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        healthy = subprocess.run(words, capture_output=True, timeout=ANSWER_SECONDS, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        healthy = False
    if not healthy:
        raise silent


def first_line(error: Exception) -> str:
    """Return the first line of an error's message."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def room_for(ray: Any, threads: int) -> int:
    """Return how many workers of so many threads the nodes of the cluster have room for in all."""
    return sum(int(node["Resources"].get("CPU", 0)) // threads for node in ray.nodes() if node["Alive"])


def check_nodes(ray: Any) -> None:
    """Raise Refusal if a node of the cluster has another version of metarl or torch, or none.

    Other versions may understand a call otherwise, or compute other numbers.
    """

    def versions() -> list[str]:  # travels by value, for metarl may be missing there
        found = []
        try:
            from metarl.core.version import __version__ as there

            found.append(there)
        except ImportError:
            found.append("no version")
        found.append(metadata.version("torch"))
        return found

    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = [__version__, metadata.version("torch")]
    probe = ray.remote(num_cpus=0)(versions)
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0)]
    probes = [
        probe.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote()
        for node in nodes
    ]
    try:
        answers = ray.get(probes, timeout=START_SECONDS)
    except ray.exceptions.GetTimeoutError:
        raise Refusal(
            f"the Ray cluster started no process within {START_SECONDS:g} seconds on one of its nodes"
        ) from None
    for node, there in zip(nodes, answers, strict=True):
        for package, mine, other in zip(("metarl", "torch"), here, there, strict=True):
            if mine != other:
                raise Refusal(
                    f"the node {node['NodeManagerAddress']} of the Ray cluster has {other} of {package}, and this "
                    f"machine has {mine}: install the same version on all nodes"
                )
