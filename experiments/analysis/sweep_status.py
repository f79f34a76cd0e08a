"""Show how the trainings of a sweep stand."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from metarl.experiments.analysis import sweep
from metarl.experiments.analysis.sweep import Job, Status
from metarl.experiments.console.progress import number

SECONDS_BETWEEN_TABLES = 1.0


@contextmanager
def status_display(console: Console) -> Iterator[Callable[[dict[Job, Status]], None]]:
    """Yield what shows how the trainings stand: a live table, or a line per change and a table at the end."""
    last: dict[Job, Status] = {}
    if console.is_terminal:
        shown = -SECONDS_BETWEEN_TABLES
        with Live(console=console, auto_refresh=False) as live:

            def show_table(statuses: dict[Job, Status]) -> None:
                nonlocal shown
                if statuses != last or time.monotonic() - shown >= SECONDS_BETWEEN_TABLES:
                    shown = time.monotonic()
                    last.update(statuses)
                    live.update(status_table(statuses), refresh=True)

            yield show_table
        return

    def show_changes(statuses: dict[Job, Status]) -> None:
        for job, status in statuses.items():
            if status not in (Status("waiting"), last.get(job)):
                console.print(described(job, status), soft_wrap=True)
        last.update(statuses)

    try:
        yield show_changes
    finally:
        console.print(status_table(last))


def status_table(statuses: dict[Job, Status]) -> Group:
    """Return every training with its state, its iterations and its scores after adaptation, and remarks below."""
    table = Table()
    score = "accuracy" if any(job.is_on_images for job in statuses) else "return"
    for heading in ("training", "state", "iterations", f"last {score}", f"best {score}"):
        table.add_column(heading, justify="left" if heading in ("training", "state") else "right")
    for job, status in statuses.items():
        last, best = (shown_score(job, value) for value in sweep.scores(job))
        done = f"{sweep.iterations_done(job)}/{job.settings.iterations}"
        table.add_row(job.name, status.state, done, last, best)
    return Group(table, *(Text(described(job, status)) for job, status in statuses.items() if status.remark))


def shown_score(job: Job, score: float) -> str:
    """Return a return as text, or an accuracy in per cent; nothing if there is none yet."""
    if not math.isfinite(score):
        return ""
    return f"{score:.1%}" if job.is_on_images else number(score)


def described(job: Job, status: Status) -> str:
    """Return the training, its state, and the remark on it."""
    return f"{job.name}: {status.state}{': ' if status.remark else ''}{status.remark}"
