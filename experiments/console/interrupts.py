"""Ctrl-C, SIGTERM and a lost terminal: the first signal stops at the next safe place, the second one at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

NOTICE = b"\nmetarl: stopping after this phase; once more stops at once\n"


class Interrupted(KeyboardInterrupt):
    """A signal asked the program to end; ``number`` is the signal's."""

    def __init__(self, number: int, message: str = "interrupted") -> None:
        super().__init__(message)
        self.number = number


@contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Note SIGINT, SIGTERM and SIGHUP, and yield a function that raises ``Interrupted`` if one has arrived.

    A second signal raises it wherever the program is. It is raised once, so that nothing disturbs the saving that
    follows. Signals that are ignored, as SIGHUP is under nohup, stay ignored.
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
        with suppress(OSError):  # the terminal may be gone
            os.write(2, NOTICE)  # print() may not be entered again from a signal handler

    def check() -> None:
        if received and not raised:
            stop(received[0])

    previous = {
        number: signal.signal(number, handle)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield check
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
