"""``metarl report``: one HTML page about one or several runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from metarl.core.errors import Refusal
from metarl.core.threads import available_threads
from metarl.experiments.console.constructors import Family, Maybe
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import parse, require_at_least
from metarl.experiments.report.page import write_report
from metarl.experiments.report.runs import read_runs
from metarl.runs.progress import live_progress

NAME = "report.html"


@dataclass(frozen=True)
class Report:
    """Write one self-contained HTML page about one or several runs, finished or not.

    A report may show policies and image networks. Runs that differ in nothing but the seed are shown by their mean and
    range.
    """

    folders: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="DIR [DIR ...]", help_behavior_hint="(required)"),
    ]
    """Run folders, or folders that hold some, e.g. of a sweep."""
    out: Maybe[Path] = None
    """File to write; only an older report is replaced. DIR/report.html for one DIR, else report.html, if left out."""
    tasks: int = 400
    """Unseen tasks that each policy is evaluated on; its folder keeps the returns. 0 leaves the evaluation out."""
    seed: int = 1
    """Seed of the unseen tasks and their episodes."""
    family: Family = None
    """Task family; needed to evaluate controllers that were trained on one of your own (module:attribute)."""
    threads: int = available_threads()
    """Threads of the evaluation."""

    def __post_init__(self) -> None:
        require_at_least(0, seed=self.seed, tasks=self.tasks)
        require_at_least(1, threads=self.threads)
        if not self.folders:
            raise Refusal("metarl report needs at least one folder")


def main(arguments: Sequence[str]) -> None:
    """Run the command; raise Refusal if its arguments cannot be used."""
    command = parse(Report, arguments, "metarl report")
    out = command.out or (command.folders[0] / NAME if len(command.folders) == 1 else Path(NAME))
    runs = read_runs(command.folders)
    policies = sum(not run.is_on_images for run in runs)
    console = Terminal()
    if command.tasks and policies:
        with live_progress(console, command.tasks * policies, "unseen tasks") as show:
            write_report(
                runs, out, command.tasks, command.seed, command.threads, command.family, lambda done: show(done, "")
            )
    else:
        write_report(runs, out, tasks=0)
    console.print(f"Report: {out}", soft_wrap=True)
