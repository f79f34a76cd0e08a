"""What ``metarl table`` does for every table: trains what is missing, one after another, and shows the sheets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from metarl.core.atomic import write_atomically
from metarl.core.errors import Refusal
from metarl.experiments.analysis import sweep
from metarl.experiments.analysis.sweep import Job
from metarl.experiments.analysis.sweep_status import status_display
from metarl.experiments.console.sheets import Sheet, check_page, page, printed
from metarl.experiments.paper import filing


def train_each(jobs: Sequence[Job], file: Callable[[Job], None], console: Console) -> list[str]:
    """Trains what is not finished and hands each job to ``file``; returns a sentence for each that failed.

    ValueError, before anything is trained, if a folder holds a run that was asked for something else.
    """
    for job in jobs:
        sweep.check_folder(job)
    failures = []
    for job in jobs:
        console.print(f"{job.family}/{job.name}:", markup=False)
        with status_display(console) as show_status:
            status = sweep.run([job], processes=1, show=show_status)[job]
        try:
            if status.state != "done":
                raise Refusal(status.remark)
            file(job)
        except (ValueError, FloatingPointError) as error:
            failures.append(f"{job.family}/{job.name} failed: {error}")
    return failures


def check_unfiled(results: Path, family: str, name: str, replace: bool) -> None:
    """ValueError if there is such a result and it shall not be replaced."""
    if filing.is_filed(results, family, name) and not replace:
        raise Refusal(f"{results / family / name} is filed already and is not overwritten: say --replace")


def check_places(name: str, markdown: Path | None, results: Path, chosen: bool, writes: bool) -> None:
    """ValueError if the page or, where the command ``writes`` to it, the folder of results cannot be written.

    One that is only read must be there; ``chosen`` tells whether the user named it.
    """
    if markdown:
        check_page(markdown, name)
    if writes:
        filing.check_writable(results, chosen)
    elif not results.is_dir():
        raise Refusal(f"there is no folder {results}")


def show(name: str, sheets: Sequence[Sheet], caption: str, markdown: Path | None, console: Console) -> None:
    """Prints the sheets, and writes them as a page if one is asked for."""
    if markdown:
        write_atomically(markdown, page(name, sheets, caption).encode())
    for sheet in sheets:
        console.print(printed(sheet))
    console.print(Text(caption))
