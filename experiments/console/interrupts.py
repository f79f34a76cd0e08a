"""Ctrl-C and SIGTERM: the first one stops at the next safe place, the second one at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

NOTICE = b"\nmetarl: stopping after this phase; once more stops at once\n"


class Interrupted(KeyboardInterrupt):
    """A signal asked the program to end; ``number`` is the signal's."""

    def __init__(self, number: int, message: str = "interrupted") -> None:
        super().__init__(message)
        self.number = number


@contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Inside, SIGINT and SIGTERM are noted; the function yielded raises ``Interrupted`` if one has arrived.

    A second signal raises it wherever the program is. It is raised once: nothing disturbs the saving that follows.
    """
    received: list[int] = []
    raised: list[int] = []

    def stop(number: int) -> None:
        raised.append(number)
        raise Interrupted(number)

    def handle(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if raised:
            return
        if len(received) > 1:
            stop(number)
        # print() may not be entered again from a signal handler.
        os.write(2, NOTICE)

    def check() -> None:
        if received and not raised:
            stop(received[0])

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield check
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
