"""``metarl table pruning``: what pruned controllers lose, over criteria, sparsities and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from metarl.compression.judge import Verdict, judged
from metarl.compression.rounds import prune_in_rounds
from metarl.compression.settings import Criterion, PruneSettings
from metarl.core.atomic import write_atomically
from metarl.core.errors import Refusal
from metarl.core.threads import available_threads
from metarl.experiments.analysis.pruning_table import (
    CAPTION,
    CRITERIA,
    filed_verdicts,
    pruning_record,
    sheets,
    verdict_path,
)
from metarl.experiments.analysis.records import write_record
from metarl.experiments.console.constructors import Maybe
from metarl.experiments.console.families import family_for
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import parse, require_at_least
from metarl.experiments.console.sheets import check_page, page, printed
from metarl.experiments.paper.results import check_writable, default_results
from metarl.policies.files.pretrained import pretrained_files
from metarl.policies.loading import load_controller
from metarl.rl.evaluation import family_of


@dataclass(frozen=True)
class TablePruning:
    """Show what pruned controllers lose, by criterion and sparsity, over the verdicts that are filed.

    With --prune what is missing is pruned in one shot without meta-training, judged and filed.
    """

    prune: Annotated[tuple[str, ...], tyro.conf.arg(metavar="FAMILY/METHOD [FAMILY/METHOD ...]")] = ()
    """Pretrained controllers to prune."""
    sparsities: Annotated[tuple[float, ...], tyro.conf.arg(metavar="FLOAT [FLOAT ...]")] = (0.5, 0.8, 0.9, 0.95)
    """Sparsities of --prune."""
    criteria: Annotated[tuple[Criterion, ...], tyro.conf.arg(metavar="CRITERION [CRITERION ...]")] = CRITERIA
    """Criteria of --prune."""
    seeds: Annotated[tuple[int, ...], tyro.conf.arg(metavar="SEED [SEED ...]")] = (0, 1, 2)
    """Seeds of --prune; magnitude, which asks no task, is done for the first alone."""
    judge_tasks: int = 100
    """Unseen tasks of --prune that the controllers adapt to, at least 2; their seed is 1."""
    plot: Maybe[Path] = None
    """Draw the plot to this PNG file; an older one is replaced."""
    markdown: Maybe[Path] = None
    """Write the table to this file; only an older table is replaced."""
    results: Maybe[Path] = None
    """Folder of the filed results; those of the repository, or those that came with metarl, if left out."""
    threads: int = available_threads()
    """Threads of the simulator and of the adaptation."""

    def __post_init__(self) -> None:
        require_at_least(1, threads=self.threads)
        require_at_least(2, judge_tasks=self.judge_tasks)


JUDGE_SEED = 1


def main(arguments: Sequence[str]) -> None:
    """Run the command; raise Refusal saying what cannot be pruned, read or written."""
    command = parse(TablePruning, arguments, "metarl table pruning")
    results, console = command.results or default_results(), Terminal()
    if command.markdown:
        check_page(command.markdown, "pruning")
    if command.plot and not command.plot.parent.is_dir():
        raise Refusal(f"cannot write {command.plot}: there is no folder {command.plot.parent}")
    for name in command.prune:
        if name not in pretrained_files():
            raise Refusal(f"--prune takes pretrained controllers, {', '.join(pretrained_files())}, and not '{name}'")
        check_writable(results, command.results is not None)
    for name in command.prune:
        prune_missing(name, command, results, console)
    verdicts = filed_verdicts(results)
    if not verdicts:
        raise Refusal(f"no verdict is filed in {results}: --prune FAMILY/METHOD prunes a controller")
    told = sheets(verdicts)
    if command.markdown:
        write_atomically(command.markdown, page("pruning", told, CAPTION).encode())
    if command.plot:
        from metarl.experiments.analysis import plots, pruning_plot

        plots.write(pruning_plot.pruning_figure(verdicts), command.plot)
    for sheet in told:
        console.print(sheet.title, style="bold")
        console.print(printed(replace(sheet, title="")))
    console.print(CAPTION)


def prune_missing(name: str, command: TablePruning, results: Path, console: Console) -> None:
    """Prune a controller by each setting that has no verdict, and file the verdicts.

    Args:
        name: The pretrained controller.
        command: The options of the command.
        results: The folder of the filed results.
        console: Where to tell what is filed.
    """
    dense = load_controller(name)
    family = family_of(dense, family_for(dense, None))
    judging = family, command.judge_tasks, JUDGE_SEED, command.threads
    before = None
    for settings in one_shot_settings(command):
        path = verdict_path(results, name, settings)
        if path.is_file():
            continue
        before = before or judged(dense, *judging)
        pruned = prune_in_rounds(dense, family, settings, command.threads)
        record = pruning_record(name, settings, Verdict(before, judged(pruned, *judging)), JUDGE_SEED)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_record(path, record)
        console.print(f"filed: {path}", soft_wrap=True)


def one_shot_settings(command: TablePruning) -> list[PruneSettings]:
    """Return the settings of all prunings that the command is about."""
    return [
        PruneSettings(sparsity=sparsity, criterion=criterion, rounds=1, iterations=0, seed=seed)
        for sparsity, criterion, seed in product(command.sparsities, command.criteria, command.seeds)
        if criterion != "magnitude" or seed == command.seeds[0]
    ]
