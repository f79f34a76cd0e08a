"""File a policy's run as a result of Table 3: evaluated and measured once, in its place FAMILY/METHOD.

In a checkout the controller goes to ``policies/pretrained``, where it ships; elsewhere it stands beside its result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from metarl import api
from metarl.core.atomic import write_atomically
from metarl.core.errors import Refusal
from metarl.envs.family import TaskFamily
from metarl.envs.registry import get_family
from metarl.experiments.analysis import costs
from metarl.experiments.analysis.adaptable import model_cost
from metarl.experiments.analysis.filed import controller_path
from metarl.experiments.analysis.learning_curves import plot_learning_curve
from metarl.experiments.analysis.model_card import Sources, model_card
from metarl.experiments.console.intervals import interval_records
from metarl.experiments.paper.policy_rows import TABLE_METHODS, row_name
from metarl.experiments.paper.published import TABLE_3
from metarl.experiments.paper.results import (
    DeviceCost,
    PolicyResult,
    Score,
    begin_filing,
    device_cost,
    read_files,
    write_result,
)
from metarl.policies.controller import Controller
from metarl.policies.loading import load_controller
from metarl.policies.methods import get_method
from metarl.rl.evaluation import family_of
from metarl.rl.settings import TrainSettings, read_config
from metarl.runs.folder import CONFIG, CONTROLLER, PROGRESS, TIMINGS

TASKS = 400  # as in the paper's table
TIME_SUFFIX = "-time"
NO_COST = DeviceCost((), 0, 0, 0)  # of a reference, which takes no step


def result_name(settings: TrainSettings) -> str:
    """Return the name of a run's result: METHOD, -gate with the return gate, -seedN from the seed 1 on.

    With a baseline of time alone -time follows the gate: such a result is in no row of the table.
    """
    time = TIME_SUFFIX if settings.baseline == "time" else ""
    return row_name(settings.method, settings.gated) + time + (f"-seed{settings.seed}" if settings.seed else "")


@dataclass(frozen=True)
class PolicyRun:
    """A run that is to be filed, finished or not, as it was at the time of looking."""

    family: TaskFamily
    settings: TrainSettings
    controller: Controller
    files: dict[str, bytes]  # the configuration and the logs


def open_run(folder: Path) -> PolicyRun:
    """Open the run in a folder; raise Refusal if it is none, has not trained yet, or has no place in the table."""
    name, settings = read_config(folder)
    if name not in TABLE_3 or settings.method not in TABLE_METHODS:
        raise Refusal(f"{folder} holds {settings.method} on {name}, and the table is about {', '.join(TABLE_3)}")
    controller = load_controller(folder / CONTROLLER)
    if not controller.metadata.training["iterations"]:
        raise Refusal(f"nothing was trained yet in {folder}")
    return PolicyRun(get_family(name), settings, controller, read_files(folder, (CONFIG, PROGRESS, TIMINGS)))


def evaluate_run(run: PolicyRun, threads: int, on_tasks: Callable[[int], None]) -> PolicyResult:
    """Return the returns on unseen tasks, whose seed is the training's plus 1, and the cost of an inner step."""
    seed = run.settings.seed + 1
    evaluation = api.evaluate(
        run.controller, tasks=TASKS, seed=seed, family=run.family, threads=threads, on_tasks=on_tasks
    )
    return PolicyResult(
        tasks=len(evaluation.tasks),
        returns=tuple(Score(**each) for each in interval_records(dict(enumerate(evaluation.intervals())))),
        seed=seed,
        iterations=run.controller.metadata.training["iterations"],
        **asdict(step_cost(run.controller, run.family, seed)),
        worse=float(evaluation.worsened().double().mean()),
        horizon=run.controller.metadata.horizon,
    )


def step_cost(controller: Controller, family: TaskFamily, seed: int) -> DeviceCost:
    """Return the cost of the layers and channels that the controller chooses, and its steps measured on a few tasks."""
    if not get_method(controller.metadata.method).adapts:
        return NO_COST
    with costs.environment_episodes(controller, family_of(controller, family), seed) as record:
        taken = costs.take_steps(controller, record)
    model = model_cost(controller, costs.workload(controller), taken)
    return device_cost(controller, model, max(step.peak_bytes for step in taken))


def file_run(run: PolicyRun, result: PolicyResult, results: Path) -> None:
    """Put the run's configuration, logs and learning curve, its controller with its card, and its evaluation in place.

    They replace what was there before. Raise Refusal saying what cannot be written; then there is no result.
    """
    family, name = run.family.name, result_name(run.settings)
    folder, controller = results / family / name, controller_path(results, family, name)
    begin_filing(folder, controller.parent)
    for name, content in run.files.items():
        write_atomically(folder / name, content)
    plot_learning_curve(folder, family, run.settings)
    run.controller.save(controller, overwrite=True)
    write_result(folder, result)
    card = model_card(Sources(f"{family}/{name}", run.controller, folder, ships=True))
    write_atomically(controller.with_suffix(".md"), card.encode())
