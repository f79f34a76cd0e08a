"""``metarl table``: the paper's results beside those of metarl, and the trainings that they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from metarl.core.errors import Refusal
from metarl.experiments.analysis.sweep import Job
from metarl.experiments.commands import table_families, table_fleet, table_images, table_pruning, table_tradeoff
from metarl.experiments.console.constructors import Methods
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import parse, require_at_least
from metarl.experiments.paper.filing import Filing, check_places, show, train_each
from metarl.experiments.paper.policy_filing import TASKS, evaluate_run, file_run, open_run, result_name
from metarl.experiments.paper.policy_rows import TABLE_METHODS
from metarl.experiments.paper.policy_table import CAPTION, sheets
from metarl.experiments.paper.published import TABLE_3
from metarl.experiments.paper.results import check_unfiled, is_filed
from metarl.rl.settings import preset
from metarl.runs.progress import live_progress
from metarl.runs.run import DEFAULT_CHECKPOINTS

OWN_OPTIONS = {
    "images": table_images.main,
    "families": table_families.main,
    "tradeoff": table_tradeoff.main,
    "pruning": table_pruning.main,
    "fleet": table_fleet.main,
}


@dataclass(frozen=True)
class Table:
    """Show the paper's table of reinforcement learning beside our filed results.

    metarl table images --help shows the options of the tables of few-shot images.

    metarl table families --help shows those of the table of task families.

    metarl table tradeoff --help shows those of return against memory, over runs with different lambdas.

    metarl table pruning --help shows those of what pruned controllers lose.

    metarl table fleet --help shows those of what robots reach after updates, by the bytes that were sent.

    With --train what is missing is trained, evaluated on 400 unseen tasks and filed.

    The same command goes on after an interruption, and computes nothing twice.
    """

    name: Annotated[Literal["rl", "images", "families", "tradeoff", "pruning", "fleet"], tyro.conf.Positional]
    """Which table; all but rl must be the first word."""
    filing: Annotated[Filing, tyro.conf.OmitArgPrefixes] = field(default_factory=Filing)
    """What to do beside showing the table."""
    families: Annotated[tuple[str, ...], tyro.conf.arg(metavar="FAMILY [FAMILY ...]")] = tuple(TABLE_3)
    """Task families that --train trains on."""
    methods: Methods = tuple(TABLE_METHODS)
    """Methods that --train trains with, the references among them."""
    gates: Annotated[tuple[Literal["none", "return"], ...], tyro.conf.arg(metavar="GATE [GATE ...]")] = (
        "none",
        "return",
    )
    """Gates that --train trains every method with; the references, which take no step, are trained once."""
    iterations: int = 500
    """Meta-iterations of --train."""
    seeds: Annotated[tuple[int, ...], tyro.conf.arg(metavar="SEED [SEED ...]")] = (0, 1, 2)
    """Seeds of --train."""

    def __post_init__(self) -> None:
        if self.name in OWN_OPTIONS:
            raise Refusal(f"{self.name} must be the first word: metarl table {self.name} [OPTIONS]")
        for seed in self.seeds:
            require_at_least(0, seeds=seed)
        require_at_least(1, iterations=self.iterations)
        for name, chosen, known in (("families", self.families, TABLE_3), ("methods", self.methods, TABLE_METHODS)):
            for word in chosen:
                if word not in known:
                    raise Refusal(f"the table knows no '{word}': --{name} takes {', '.join(known)}")


def main(arguments: Sequence[str]) -> None:
    """Run the command; raise Refusal saying what is wrong with its arguments, or which trainings failed."""
    if arguments and arguments[0] in OWN_OPTIONS:
        OWN_OPTIONS[arguments[0]](arguments[1:])
        return
    command = parse(Table, arguments, "metarl table")
    filing, console = command.filing, Terminal()
    check_places("rl", filing)
    if filing.file:
        evaluate_and_file(filing.file, filing, filing.replace, console)
    failures = train_missing(command, console) if filing.train else []
    show("rl", sheets(filing.results_folder), CAPTION, filing.markdown, console)
    if failures:
        raise Refusal("; ".join(failures))


def train_missing(command: Table, console: Console) -> list[str]:
    """Train, evaluate and file what has no result; return a sentence for each that failed."""
    filing = command.filing
    jobs: list[Job] = []
    for family, seed, method, gate in product(command.families, command.seeds, command.methods, command.gates):
        settings = preset(
            family, method=method, gate=gate, iterations=command.iterations, seed=seed, threads=filing.threads
        )
        name = result_name(settings)
        folder = filing.out / family / name
        known = folder in {job.folder for job in jobs}  # a reference has no gate; a word may be typed twice
        if not known and not is_filed(filing.results_folder, family, name):
            jobs.append(Job(folder, family, settings, DEFAULT_CHECKPOINTS))
    return train_each(jobs, lambda job: evaluate_and_file(job.folder, filing, False, console), console)


def evaluate_and_file(folder: Path, filing: Filing, replace: bool, console: Console) -> None:
    """File one run.

    Args:
        folder: Folder of the run.
        filing: Options of the command.
        replace: Whether a result that is filed already may be replaced.
        console: Where to show the progress.
    """
    run, results = open_run(folder), filing.results_folder
    family, name = run.family.name, result_name(run.settings)
    check_unfiled(results, family, name, replace)
    with live_progress(console, TASKS, "unseen tasks") as show_progress:
        result = evaluate_run(run, filing.threads, lambda done: show_progress(done, ""))
    file_run(run, result, results)
    console.print(f"{folder} is filed in {results / family / name}", soft_wrap=True)
