"""Objects in other processes, whose methods are called together, and what travels to and from them."""

from __future__ import annotations

import io
import pickle
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import cloudpickle
import torch
from torch import Tensor

from metarl.core.errors import Refusal

LOSSES = 5  # in a row, with which what was under way is given up

Result = TypeVar("Result")


class WorkerLost(Exception):
    """A worker ended, and with it the tasks that it held."""


@dataclass
class Traffic:
    """The bytes that were sent to workers and received from them, and the rounds of calls that it took."""

    sent: int = 0
    received: int = 0
    rounds: int = 0


class Pool(Protocol):
    """Workers, each with an object of its own. Arguments and results are the only thing that they share."""

    traffic: Traffic

    def __len__(self) -> int:
        """Return the number of workers."""
        ...

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
        ...

    def restore(self) -> None:
        """Replace the workers that have ended, with new objects; there may be fewer afterwards."""
        ...


class Cluster(Protocol):
    """Where a pool of workers can be had."""

    def check(self, tasks: int, where: str) -> None:
        """Raise Refusal if there cannot be workers for so many tasks; ``where`` says of what, e.g. "a meta-batch"."""
        ...

    def pool(self, make: Callable[[], Any], threads: int, tasks: int) -> AbstractContextManager[Pool]:
        """Return a pool whose workers each hold what ``make`` returns, when entered.

        Args:
            make: Makes a worker's object; its ``close`` is called at the end.
            threads: Threads of each worker.
            tasks: The tasks that are dealt to the workers, of which there are no more than tasks.
        """
        ...


def check_workers(workers: int, tasks: int, where: str) -> None:
    """Raise Refusal unless each worker has a task; ``where`` says of what, e.g. "a meta-batch"."""
    if not 1 <= workers <= tasks:
        raise Refusal(f"{workers} workers for the {tasks} tasks of {where}: take at least 1 and at most {tasks}")


class _Packer(cloudpickle.Pickler):  # type: ignore[misc]
    """Writes tensors as arrays, in a fifth of the time and without their history."""

    def reducer_override(self, obj: Any) -> Any:
        """Return how an object is made anew."""
        if type(obj) is Tensor:
            return torch.from_numpy, (obj.detach().contiguous().numpy(),)
        return super().reducer_override(obj)


def pack(value: Any) -> bytes:
    """Return a value as bytes; what a user's own code defines in ``__main__`` travels with it."""
    buffer = io.BytesIO()
    _Packer(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
    return buffer.getvalue()


def unpack(packed: bytes) -> Any:
    """Return the value that was packed."""
    return pickle.loads(packed)


def repeated(attempt: Callable[[], Result], restore: Callable[[], None], what: str) -> Result:
    """Return the result of an attempt, which is made again as long as it ends with a WorkerLost.

    Args:
        attempt: Does the whole work, from its own random numbers on, so that a repetition gives the same.
        restore: Replaces the workers that were lost.
        what: What a warning says is repeated, e.g. "iteration 3".

    Returns:
        The result. Refusal after LOSSES attempts.
    """
    losses = 0
    while True:
        try:
            return attempt()
        except WorkerLost as lost:
            losses += 1
            check_losses(lost, losses, what)
            restore()


def check_losses(lost: WorkerLost, losses: int, what: str) -> None:
    """Warn that ``what`` is repeated, or raise Refusal if workers were lost LOSSES times in a row."""
    if losses >= LOSSES:
        raise Refusal(f"workers were lost {losses} times in a row, so {what} is given up: {lost}")
    warnings.warn(f"{lost}; {what} is repeated", stacklevel=3)
