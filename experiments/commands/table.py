"""``metarl table``: the paper's results beside those of metarl, and the trainings that they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.text import Text

from metarl.experiments import filing, sweep, table
from metarl.experiments.commands.sweep import status_display
from metarl.experiments.parsing import parse, require_at_least
from metarl.experiments.progress import live_progress
from metarl.experiments.published import METHODS, TABLE_3
from metarl.experiments.sweep import Job
from metarl.policies.atomic import write_atomically
from metarl.run import CheckpointSettings
from metarl.settings import available_threads, preset


@dataclass(frozen=True)
class TableCommand:
    """Show the paper's table beside the filed results, in reinforcement learning (rl): six methods on two families.

    With --train what is missing is trained, evaluated on 400 unseen tasks, measured and filed, one after another. The
    same command goes on after an interruption; what is finished is not computed again.
    """

    name: Annotated[Literal["rl"], tyro.conf.Positional]
    """Which table."""
    train: bool = False
    """Train what is missing; it takes hours."""
    file: Path | None = None
    """Evaluate and file the run in this folder, finished or interrupted."""
    replace: bool = False
    """Let --file replace a result that is filed already."""
    markdown: Path | None = None
    """Write the table to this file; only an older table is replaced."""
    out: Path = Path("runs") / "table"
    """Working folder of --train."""
    results: Path | None = None
    """Folder of the filed results; those of the repository, or those that came with metarl, if left out."""
    families: tuple[str, ...] = tuple(TABLE_3)
    """Task families that --train trains on."""
    methods: tuple[str, ...] = METHODS
    """Methods that --train trains with."""
    iterations: int = 500
    """Meta-iterations of --train."""
    seed: int = 0
    """Seed of --train."""
    threads: int = available_threads()
    """Threads of the training and of the evaluation."""

    def __post_init__(self) -> None:
        require_at_least(0, seed=self.seed)
        require_at_least(1, iterations=self.iterations, threads=self.threads)
        for name, chosen, known in (("families", self.families, TABLE_3), ("methods", self.methods, METHODS)):
            for word in chosen:
                if word not in known:
                    raise ValueError(f"the table knows no '{word}': --{name} takes {', '.join(known)}")


def main(arguments: Sequence[str]) -> None:
    """Runs the command; ValueError says what is wrong with its arguments, or which trainings failed."""
    command = parse(TableCommand, arguments, "metarl table")
    results = command.results or filing.default_results()
    if command.markdown:
        table.check_markdown(command.markdown)
    console = Console(highlight=False)
    failures: list[str] = []
    if command.file or command.train:
        filing.check_writable(results, command.results is not None)
        if command.file:
            evaluate_and_file(command.file, results, command.replace, command.threads, console)
        if command.train:
            failures = train_missing(command, results, console)
    elif not results.is_dir():
        raise ValueError(f"there is no folder {results}")
    families = table.read_rows(results)
    if command.markdown:
        write_atomically(command.markdown, table.markdown(families).encode())
    for family, rows in families.items():
        console.print(table.printed(family, rows))
    console.print(Text(table.CAPTION))
    if failures:
        raise ValueError("; ".join(failures))


def train_missing(command: TableCommand, results: Path, console: Console) -> list[str]:
    """Trains, evaluates and files what has no result; returns a sentence for each that failed."""
    todo = [
        Job(
            command.out / family / method,
            family,
            preset(family, method=method, iterations=command.iterations, seed=command.seed, threads=command.threads),
            CheckpointSettings(),
        )
        for family in dict.fromkeys(command.families)
        for method in dict.fromkeys(command.methods)
        if not filing.is_filed(results, family, method)
    ]
    for job in todo:
        sweep.check_folder(job)
    failures = []
    for job in todo:
        console.print(f"{job.family}/{job.name}:", markup=False)
        with status_display(console) as show:
            status = sweep.run([job], processes=1, show=show)[job]
        try:
            if status.state != "done":
                raise ValueError(status.remark)
            evaluate_and_file(job.folder, results, replace=False, threads=command.threads, console=console)
        except (ValueError, FloatingPointError) as error:
            failures.append(f"{job.family}/{job.name} failed: {error}")
    return failures


def evaluate_and_file(folder: Path, results: Path, replace: bool, threads: int, console: Console) -> None:
    """Files one run; ValueError if it cannot be, or if there is such a result and it shall not be replaced."""
    run = filing.open_run(folder)
    family, method = run.family.name, run.settings.method
    if filing.is_filed(results, family, method) and not replace:
        raise ValueError(f"{results / family / method} is filed already and is not overwritten: say --replace")
    with live_progress(console, filing.TASKS, "unseen tasks") as show:
        record = filing.evaluation_record(run, threads, lambda done: show(done, ""))
    filing.file_run(run, record, results)
    console.print(f"{folder} is filed in {results / family / method}", soft_wrap=True, markup=False)
