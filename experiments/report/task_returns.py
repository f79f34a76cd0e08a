"""Returns of a run's controller on unseen tasks, kept in the run folder so that they are computed once."""

from __future__ import annotations

import csv
import hashlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metarl import api
from metarl.core.atomic import CannotWrite, write_atomically
from metarl.core.errors import Refusal
from metarl.experiments.analysis.filed import controller_path
from metarl.experiments.analysis.logs import Array
from metarl.experiments.console.families import family_for
from metarl.experiments.report.runs import Run
from metarl.policies.controller import Controller
from metarl.policies.files.metadata import FieldRecord
from metarl.policies.loading import load_controller
from metarl.runs import folder as run_folder

EVALUATION = "evaluation.csv"
KEYS = ("evaluation_seed", "controller_sha256")  # columns that tell what a row was evaluated with


@dataclass(frozen=True)
class TaskReturns:
    """Returns after 0, 1, ... K inner steps on unseen tasks."""

    fields: tuple[FieldRecord, ...]
    tasks: Array  # [task, field]
    returns: Array  # [inner step, task]


def task_returns(
    run: Run, tasks: int, seed: int, threads: int, family: str | None, on_tasks: Callable[[int], None]
) -> TaskReturns:
    """Return the returns of a run's controller, which ``evaluation.csv`` in its folder keeps.

    Args:
        run: the run, of reinforcement learning.
        tasks: number of unseen tasks.
        seed: of the tasks and their episodes.
        threads: of the evaluation.
        family: the run's family if it is one of the user's own (module:attribute).
        on_tasks: called with the number of tasks that are done.

    Returns:
        The returns, evaluated anew unless the file is about these tasks and this controller. Raise Refusal if there is
        no such controller, its family is not named, or the file is none of metarl's.
    """
    path = run.folder / EVALUATION
    controller_file = controller_of(run)
    controller = load_controller(controller_file)
    digest = hashlib.sha256(controller_file.read_bytes()).hexdigest()
    columns = header(controller)
    rows = read_rows(path, columns)
    if len(rows) != tasks or any(row[: len(KEYS)] != [str(seed), digest] for row in rows):
        named = family if family == controller.metadata.family else None
        evaluation = api.evaluate(
            controller,
            tasks=tasks,
            seed=seed,
            family=family_for(controller, named),
            threads=threads,
            on_tasks=on_tasks,
        )
        numbers = np.hstack([evaluation.tasks, evaluation.returns.numpy().T]).tolist()
        rows = [[str(seed), digest, *map(repr, row)] for row in numbers]
        keep(path, columns, rows)
    table = np.array([[float(cell) for cell in row[len(KEYS) :]] for row in rows])
    fields = controller.metadata.task_fields
    return TaskReturns(fields, table[:, : len(fields)], table[:, len(fields) :].T)


def controller_of(run: Run) -> Path:
    """Return the path of a run's controller: in its folder, or among the pretrained ones if it is a filed result."""
    beside = run.folder / run_folder.CONTROLLER
    place = run.folder.resolve()
    if beside.exists() or place.parent.name != run.family:
        return beside
    return controller_path(place.parent.parent, run.family, place.name)


def header(controller: Controller) -> list[str]:
    """Return the columns of ``evaluation.csv``: the keys, the task's fields, the return after each inner step."""
    fields = [field.name for field in controller.metadata.task_fields]
    return [*KEYS, *fields, *(f"return_{steps}" for steps in range(controller.metadata.inner_steps + 1))]


def read_rows(path: Path, columns: list[str]) -> list[list[str]]:
    """Return the rows of an evaluation, none without a file of these columns; raise Refusal for any other file."""
    try:
        text = path.read_text()
        found, *rows = csv.reader(text.splitlines()) if text else [list(KEYS)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise Refusal(f"{path.name} cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, csv.Error):
        found, rows = [], []
    if tuple(found[: len(KEYS)]) != KEYS:
        raise Refusal(f"{path.name} was not written by metarl report and is not overwritten: move it away")
    whole = found == columns and all(len(row) == len(columns) for row in rows) and all(map(are_numbers, rows))
    return rows if whole else []


def are_numbers(row: list[str]) -> bool:
    """Return whether the task and the returns of a row are numbers."""
    try:
        [float(cell) for cell in row[len(KEYS) :]]
    except ValueError:
        return False
    return True


def keep(path: Path, columns: list[str], rows: list[list[str]]) -> None:
    """Write ``evaluation.csv``, or warn if that fails."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    try:
        write_atomically(path, text.getvalue().encode())
    except CannotWrite as error:
        warnings.warn(f"{error}; the next report evaluates again", stacklevel=2)
