"""What ``metarl table`` does for every table: train what is missing, one after another, and show the sheets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from metarl.core.atomic import write_atomically
from metarl.core.errors import NumericalFault, Refusal
from metarl.core.threads import available_threads
from metarl.experiments.analysis import sweep
from metarl.experiments.analysis.sweep import Job
from metarl.experiments.analysis.sweep_status import status_display
from metarl.experiments.console.constructors import Maybe
from metarl.experiments.console.parsing import require_at_least
from metarl.experiments.console.sheets import Sheet, check_page, page, printed
from metarl.experiments.paper.results import check_writable, default_results


@dataclass(frozen=True)
class Filing:
    """Train what is missing, file results, write the table to a file."""

    train: bool = False
    """Train what is missing, evaluate it and file it; it takes hours."""
    file: Maybe[Path] = None
    """Evaluate and file the run in this folder, finished or interrupted."""
    replace: bool = False
    """Let --file replace a result that is filed already."""
    markdown: Maybe[Path] = None
    """Write the table to this file; only an older table is replaced."""
    out: Path = Path("runs") / "table"
    """Working folder of --train."""
    results: Maybe[Path] = None
    """Folder of the filed results; those of the repository, or those that came with metarl, if left out."""
    threads: int = available_threads()
    """Threads of the training and of the evaluation."""

    def __post_init__(self) -> None:
        require_at_least(1, threads=self.threads)

    @property
    def results_folder(self) -> Path:
        """The folder of the filed results."""
        return self.results or default_results()


def check_places(name: str, filing: Filing) -> None:
    """Raise Refusal if a file or folder that the command is to write cannot be written, or to read is not there."""
    if filing.markdown:
        check_page(filing.markdown, name)
    if filing.train or filing.file:
        check_writable(filing.results_folder, filing.results is not None)
    elif not filing.results_folder.is_dir():
        raise Refusal(f"there is no folder {filing.results_folder}")


def train_each(jobs: Sequence[Job], file: Callable[[Job], None], console: Console) -> list[str]:
    """Train what is not finished and hand each job to ``file``; return a sentence for each that failed.

    Raise Refusal, before anything is trained, if a folder holds a run that was asked for something else.
    """
    for job in jobs:
        sweep.check_folder(job)
    failures = []
    for job in jobs:
        console.print(f"{job.family}/{job.name}:")
        with status_display(console) as show_status:
            status = sweep.run([job], processes=1, show=show_status)[job]
        try:
            if status.state != "done":
                raise Refusal(status.remark)
            file(job)
        except (Refusal, NumericalFault) as error:
            failures.append(f"{job.family}/{job.name} failed: {error}")
    return failures


def show(name: str, sheets: Sequence[Sheet], caption: str, markdown: Path | None, console: Console) -> None:
    """Print the sheets, and write them as a page.

    Args:
        name: The table's name, as in ``metarl table NAME``.
        sheets: The sheets.
        caption: What the columns mean.
        markdown: The page's file; None for no page.
        console: Where to print.
    """
    if markdown:
        write_atomically(markdown, page(name, sheets, caption).encode())
    for sheet in sheets:
        console.print(printed(sheet))
    console.print(Text(caption))
