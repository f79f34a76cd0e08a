"""Present the evaluation of a policy: as a table and as a JSON record."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from metarl.core.text import plural
from metarl.envs.family import TaskFamily
from metarl.experiments.console.intervals import interval_records, interval_table, percent
from metarl.experiments.console.progress import number
from metarl.policies.controller import Controller
from metarl.rl.evaluation import Evaluation


def returns_table(evaluation: Evaluation, family: TaskFamily, deterministic: bool = False) -> Table:
    """Return mean returns, and success rates if they are known, by inner steps, titled by what was evaluated."""
    shown = "mean" if family.choices is None else "most likely"
    taken = f", {shown} actions" if deterministic else ""
    title = f"{family.name}, {plural(len(evaluation.tasks), 'unseen task')}{taken}"
    returns, successes = (dict(enumerate(of)) for of in (evaluation.intervals(), evaluation.success_intervals()))
    return interval_table(title, {"mean return": (returns, number), "success rate": (successes, percent)})


def returns_record(
    evaluation: Evaluation, controller: Controller, family: TaskFamily, seed: int, deterministic: bool
) -> dict[str, Any]:
    """Return what ``--json`` writes of a policy.

    Args:
        evaluation: The returns.
        controller: The controller, with the settings of the evaluation.
        family: The tasks' family.
        seed: Seed of the tasks and episodes.
        deterministic: Whether the mean or most likely actions were evaluated.

    Returns:
        What was evaluated, means with intervals by inner step, and for each task its values and its mean returns.
    """
    metadata = controller.metadata
    tasks = zip(evaluation.tasks, evaluation.returns.mT.tolist(), strict=True)
    return {
        "family": family.name,
        "method": metadata.method,
        "horizon": metadata.horizon,
        "episodes": metadata.episodes_per_step,
        "inner_steps": metadata.inner_steps,
        "deterministic": deterministic,
        "seed": seed,
        "tasks": len(evaluation.tasks),
        "returns": interval_records(dict(enumerate(evaluation.intervals()))),
        "task_returns": [{"task": family.task_dict(task), "returns": returns} for task, returns in tasks],
    } | success_record(evaluation)


def success_record(evaluation: Evaluation) -> dict[str, Any]:
    """Return success rates with intervals by inner step, and those of each task; nothing if they are not known."""
    intervals = evaluation.success_intervals()
    if not intervals:
        return {}
    return {
        "successes": interval_records(dict(enumerate(intervals))),
        "task_successes": evaluation.successes.mT.tolist(),
    }
