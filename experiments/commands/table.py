"""``metarl table``: the paper's results beside those of metarl, and the trainings that they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from metarl.core.errors import Refusal
from metarl.core.threads import available_threads
from metarl.experiments.analysis.sweep import Job
from metarl.experiments.commands import table_families, table_images
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import parse, require_at_least
from metarl.experiments.console.progress import live_progress
from metarl.experiments.paper import filing, table
from metarl.experiments.paper.published import METHODS, TABLE_3
from metarl.experiments.paper.table_making import check_places, check_unfiled, show, train_each
from metarl.rl.settings import preset
from metarl.runs.run import CheckpointSettings

OWN_OPTIONS = {"images": table_images.main, "families": table_families.main}


@dataclass(frozen=True)
class TableCommand:
    """Show the paper's table beside the filed results, in reinforcement learning (rl): six methods on two families.

    Few-shot images and task families have tables with options of their own: metarl table images --help, metarl table
    families --help.

    With --train what is missing is trained, evaluated on 400 unseen tasks, measured and filed, one after another. The
    same command goes on after an interruption; what is finished is not computed again.
    """

    name: Annotated[Literal["rl", "images", "families"], tyro.conf.Positional]
    """Which table; images and families must be the first word."""
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
        if self.name in OWN_OPTIONS:
            raise Refusal(f"{self.name} must be the first word: metarl table {self.name} [OPTIONS]")
        require_at_least(0, seed=self.seed)
        require_at_least(1, iterations=self.iterations, threads=self.threads)
        for name, chosen, known in (("families", self.families, TABLE_3), ("methods", self.methods, METHODS)):
            for word in chosen:
                if word not in known:
                    raise Refusal(f"the table knows no '{word}': --{name} takes {', '.join(known)}")


def main(arguments: Sequence[str]) -> None:
    """Runs the command; ValueError says what is wrong with its arguments, or which trainings failed."""
    if arguments and arguments[0] in OWN_OPTIONS:
        OWN_OPTIONS[arguments[0]](arguments[1:])
        return
    command = parse(TableCommand, arguments, "metarl table")
    results = command.results or filing.default_results()
    writes = command.train or command.file is not None
    check_places("rl", command.markdown, results, command.results is not None, writes)
    console = Terminal()
    failures: list[str] = []
    if command.file:
        evaluate_and_file(command.file, results, command.replace, command.threads, console)
    if command.train:
        failures = train_missing(command, results, console)
    sheets = [table.sheet(family, rows) for family, rows in table.read_rows(results).items()]
    show("rl", sheets, table.CAPTION, command.markdown, console)
    if failures:
        raise Refusal("; ".join(failures))


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
    return train_each(
        todo, lambda job: evaluate_and_file(job.folder, results, False, command.threads, console), console
    )


def evaluate_and_file(folder: Path, results: Path, replace: bool, threads: int, console: Console) -> None:
    """Files one run; ValueError if it cannot be, or if there is such a result and it shall not be replaced."""
    run = filing.open_run(folder)
    family, method = run.family.name, run.settings.method
    check_unfiled(results, family, method, replace)
    with live_progress(console, filing.TASKS, "unseen tasks") as show_progress:
        record = filing.evaluation_record(run, threads, lambda done: show_progress(done, ""))
    filing.file_run(run, record, results)
    console.print(f"{folder} is filed in {results / family / method}", soft_wrap=True)
