"""``metarl table tradeoff``: return against measured memory, over runs of different lambdas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from metarl import api
from metarl.core.atomic import write_atomically
from metarl.core.errors import Refusal
from metarl.core.threads import available_threads
from metarl.experiments.analysis.tradeoff import TradeOff, tradeoff_sheet
from metarl.experiments.console.constructors import Maybe
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import parse, require_at_least
from metarl.experiments.console.sheets import check_page, page, printed
from metarl.experiments.paper.policy_filing import TASKS, PolicyRun, open_run, step_cost
from metarl.policies.methods import get_method
from metarl.runs.progress import live_progress

CAPTION = (
    "Mean returns after adaptation on unseen tasks with 95 % intervals over tasks; the memory of one inner step as it "
    "ran, in MB of 10^6 bytes; the layers that it updates."
)


@dataclass(frozen=True)
class TableTradeOff:
    """Show what the Lasso buys: return against the measured memory of adapting, over runs with different lambdas."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN [RUN ...]")]
    """Folders of runs of p-Meta, all on one task family."""
    tasks: int = TASKS
    """Unseen tasks to evaluate on."""
    plot: Maybe[Path] = None
    """Draw the plot to this PNG file; an older one is replaced."""
    markdown: Maybe[Path] = None
    """Write the table to this file; only an older table is replaced."""
    threads: int = available_threads()
    """Threads of the simulator."""

    def __post_init__(self) -> None:
        require_at_least(1, threads=self.threads)
        require_at_least(2, tasks=self.tasks)


def main(arguments: Sequence[str]) -> None:
    """Run the command; raise Refusal for a folder that holds no run of p-Meta, or for several families."""
    command = parse(TableTradeOff, arguments, "metarl table tradeoff")
    if command.markdown:
        check_page(command.markdown, "tradeoff")
    if command.plot and not command.plot.parent.is_dir():
        raise Refusal(f"cannot write {command.plot}: there is no folder {command.plot.parent}")
    runs = {folder: open_run(folder) for folder in command.runs}
    family, console = check_runs(runs), Terminal()
    points = [evaluated(folder, run, command, console) for folder, run in runs.items()]
    sheet = tradeoff_sheet(family, points)
    if command.markdown:
        write_atomically(command.markdown, page("tradeoff", [sheet], CAPTION).encode())
    if command.plot:
        from metarl.experiments.analysis import plots, tradeoff_plot

        plots.write(tradeoff_plot.tradeoff_figure(family, points), command.plot)
    console.print(printed(sheet))
    console.print(CAPTION)


def check_runs(runs: dict[Path, PolicyRun]) -> str:
    """Return the family that all runs are about; raise Refusal if there are several, or a run without a Lasso."""
    families = sorted({run.family.name for run in runs.values()})
    if len(families) > 1:
        raise Refusal(f"the runs must be of one task family, and these are of {', '.join(families)}")
    for folder, run in runs.items():
        if get_method(run.settings.method).step_sizes != "sparse":
            raise Refusal(
                f"{folder} holds {run.settings.method}, whose step sizes no lambda acts on: give runs of p-Meta"
            )
    return families[0]


def evaluated(folder: Path, run: PolicyRun, command: TableTradeOff, console: Console) -> TradeOff:
    """Evaluate the controller of a run, and measure its inner step.

    Args:
        folder: The run's folder.
        run: The run.
        command: The options of the command.
        console: Where to show the progress.

    Returns:
        Its place in the trade-off.
    """
    seed = run.settings.seed + 1
    with live_progress(console, command.tasks, f"unseen tasks of {folder.name}") as show_progress:
        evaluation = api.evaluate(
            run.controller,
            tasks=command.tasks,
            seed=seed,
            family=run.family,
            threads=command.threads,
            on_tasks=lambda done: show_progress(done, ""),
        )
    step = step_cost(run.controller, run.family, seed)
    return TradeOff(
        method=run.settings.method,
        lasso=run.settings.lasso,
        iterations=run.controller.metadata.training["iterations"],
        returned=evaluation.intervals()[-1],
        measured_bytes=step.measured_peak_adaptation_bytes,
        layers=step.layers,
    )
