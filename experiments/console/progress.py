"""What a terminal shows while something runs: a live line, or plain lines where the output is not a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

SECONDS_BETWEEN_LINES = 1.0


@contextmanager
def live_progress(console: Console, total: int, what: str) -> Iterator[Callable[[int, str], None]]:
    """Yields ``show(done, text)``. On a terminal it moves one line; elsewhere it prints one, but not several a second.

    The time left is estimated from the second call on: what was done before the first, or in a run that is being
    resumed, says nothing about the pace.
    """
    start = time.monotonic()
    first: tuple[int, float] | None = None

    def left(done: int) -> str:
        nonlocal first
        now = time.monotonic()
        first = first or (done, now)
        if done == total or done == first[0]:
            return "0:00 left" if done == total else ""
        return f"{clock_time((total - done) * (now - first[1]) / (done - first[0]))} left"

    if not console.is_terminal:
        printed = -SECONDS_BETWEEN_LINES

        def show_line(done: int, text: str) -> None:
            nonlocal printed
            now = time.monotonic() - start
            if done == total or now - printed >= SECONDS_BETWEEN_LINES:
                printed = now
                console.print(join(f"{done}/{total} {what}", text, left(done)), soft_wrap=True)

        yield show_line
        return

    columns = (
        BarColumn(bar_width=None),
        TextColumn("{task.completed}/{task.total}", style="bold", markup=False),
        TextColumn("{task.fields[text]}", markup=False),
    )
    with Progress(*columns, console=console, expand=True) as progress:
        bar = progress.add_task(what, total=total, text="")

        def show_live(done: int, text: str) -> None:
            progress.update(bar, completed=done, text=join(text, left(done)))

        yield show_live


def decoding_line(console: Console) -> Callable[[int, int], None]:
    """What ``load_images`` calls while it decodes: says so once, for it is only the first time that it takes long."""

    def show(done: int, total: int) -> None:
        if done == total:
            console.print(f"decoded {total} images")

    return show


def number(value: float) -> str:
    """A return with four digits or so."""
    return f"{value:.2f}" if abs(value) < 100 else f"{value:.1f}"


def join(*parts: str) -> str:
    """The parts that say something, side by side."""
    return "  ".join(part for part in parts if part)


def clock_time(seconds: float) -> str:
    """``3:05`` for 185 seconds, ``1:00:05`` for an hour and five seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
