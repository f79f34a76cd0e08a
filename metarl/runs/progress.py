"""Show how far something is while it runs: a line that moves in a terminal or notebook, or plain lines elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeRemainingColumn
from rich.table import Column

SECONDS_BETWEEN_LINES = 1.0
WIDTH_WITH_BAR = 80  # characters
SPEED_PERIOD = 3600.0  # seconds whose pace the time left is estimated from; an iteration may take minutes


@contextmanager
def live_progress(console: Console, total: int, what: str) -> Iterator[Callable[[int, str], None]]:
    """Yield ``show(done, text)``, which moves one line of a terminal or notebook.

    Where the output is a file or a pipe, it prints a line, but at most one a second.
    """
    wide = console.width >= WIDTH_WITH_BAR
    # Without a bar, the text takes what the other columns leave, and is cut there.
    rest = None if wide else Column(ratio=1, no_wrap=True)
    columns = (
        *([BarColumn(bar_width=None)] if wide else []),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}", markup=False, table_column=rest),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    live = console.is_terminal or (console.is_jupyter and find_spec("ipywidgets") is not None)
    printed = -math.inf
    with Progress(
        *columns, console=console, expand=True, disable=not live, speed_estimate_period=SPEED_PERIOD
    ) as progress:
        bar = progress.add_task(what, total=total, text="")

        def show(done: int, text: str) -> None:
            nonlocal printed
            progress.update(bar, completed=done, text=text)
            now = progress.get_time()
            if not live and (done == total or now - printed >= SECONDS_BETWEEN_LINES):
                printed = now
                console.print(plain_line(progress.tasks[0], text), soft_wrap=True)

        yield show


def plain_line(task: Task, text: str) -> str:
    """Return the line of a task where no line can move: ``5/20 tasks``, the text, ``0:00:12 left``."""
    count, clock = MofNCompleteColumn().render(task), TimeRemainingColumn(elapsed_when_finished=True).render(task)
    time = f"{clock} in all" if task.finished else f"{clock} left" if task.time_remaining is not None else ""
    return "  ".join(part for part in (f"{count} {task.description}".strip(), text, time) if part)
