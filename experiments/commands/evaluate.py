"""``metarl evaluate``: returns on many unseen tasks, before and after adaptation."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table

from metarl import api
from metarl.evaluation import Evaluation
from metarl.experiments.families import family_for
from metarl.experiments.parsing import check_new_file, parse, require_at_least
from metarl.experiments.progress import live_progress, number
from metarl.policies.atomic import write_atomically
from metarl.policies.controller import load
from metarl.settings import available_threads


@dataclass(frozen=True)
class Evaluate:
    """Adapt a controller to many unseen tasks; report the mean return and its 95 % interval before and after."""

    controller: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CONTROLLER")]
    """The controller's file, or FAMILY/METHOD of one that ships with metarl."""
    tasks: int = 400
    """How many unseen tasks."""
    seed: int = 1
    """Seed of the tasks and the episodes."""
    horizon: int | None = None
    """Time steps in an episode; those of the training if left out."""
    json: Path | None = None
    """Write the numbers to this file, which must be new."""
    family: str | None = None
    """Task family; needed where the controller was trained on one of your own (module:attribute)."""
    threads: int = available_threads()
    """Threads of the simulator and of the adaptation."""

    def __post_init__(self) -> None:
        require_at_least(0, seed=self.seed)
        require_at_least(1, tasks=self.tasks, threads=self.threads, horizon=1 if self.horizon is None else self.horizon)


def main(arguments: Sequence[str]) -> None:
    """Runs the command; ValueError says what is wrong with its arguments."""
    command = parse(Evaluate, arguments, "metarl evaluate")
    if command.json:
        check_new_file(command.json)
    controller = load(command.controller)
    family = family_for(controller, command.family)
    console = Console(highlight=False)
    with live_progress(console, command.tasks, "tasks") as show:
        evaluation = api.evaluate(
            controller,
            tasks=command.tasks,
            seed=command.seed,
            horizon=command.horizon,
            family=family,
            threads=command.threads,
            on_tasks=lambda done: show(done, ""),
        )
    console.print(returns_table(evaluation, f"{controller.metadata.family}, {command.tasks} unseen tasks"))
    if command.json:
        write_atomically(command.json, (json.dumps(returns_record(evaluation), indent=2) + "\n").encode())


def returns_record(evaluation: Evaluation) -> dict[str, Any]:
    """What ``--json`` writes. A single task has no interval: null."""
    return {
        "tasks": len(evaluation.tasks),
        "returns": [
            {"steps": steps, "mean": each.mean, "ci95": each.ci95 if math.isfinite(each.ci95) else None}
            for steps, each in enumerate(evaluation.intervals())
        ],
    }


def returns_table(evaluation: Evaluation, title: str) -> Table:
    """Mean return and 95 % interval by the number of inner steps."""
    table = Table(title=title)
    for heading in ("inner steps", "mean return", "95 % interval"):
        table.add_column(heading, justify="right")
    for steps, each in enumerate(evaluation.intervals()):
        interval = f"± {number(each.ci95)}" if math.isfinite(each.ci95) else ""
        table.add_row(str(steps), number(each.mean), interval)
    return table
