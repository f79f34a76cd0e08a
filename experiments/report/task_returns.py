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
from metarl.core.atomic import write_atomically
from metarl.experiments.analysis.filed import controller_path
from metarl.experiments.analysis.logs import Array
from metarl.experiments.console.families import family_for
from metarl.experiments.report.runs import Run
from metarl.policies.controller import Controller
from metarl.policies.files.metadata import FieldRecord
from metarl.policies.loading import load_controller
from metarl.runs import folder as run_folder

EVALUATION = "evaluation.csv"
# What the tasks of a row were drawn with, and whose returns they are.
NOTED = ("evaluation_seed", "controller_sha256")


@dataclass(frozen=True)
class TaskReturns:
    """Returns after 0, 1, ... K inner steps on unseen tasks."""

    fields: tuple[FieldRecord, ...]
    tasks: Array  # [task, field]
    returns: Array  # [inner step, task]


def task_returns(
    run: Run, tasks: int, seed: int, threads: int, family: str | None, on_tasks: Callable[[int], None]
) -> TaskReturns:
    """From the run's ``evaluation.csv`` if that holds these very tasks and this very controller, else computed.

    ValueError says why there are none: no controller, or a damaged one, or a family of somebody's own that was not
    named by ``family``; also if ``evaluation.csv`` is a file of another kind.
    """
    path = run.folder / EVALUATION
    controller_file = controller_of(run)
    controller = load_controller(controller_file)
    digest = hashlib.sha256(controller_file.read_bytes()).hexdigest()
    columns = header(controller)
    rows = read_rows(path, columns)
    if len(rows) != tasks or any(row[: len(NOTED)] != [str(seed), digest] for row in rows):
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
    table = np.array([[float(cell) for cell in row[len(NOTED) :]] for row in rows])
    fields = controller.metadata.task_fields
    return TaskReturns(fields, table[:, : len(fields)], table[:, len(fields) :].T)


def controller_of(run: Run) -> Path:
    """Beside the run's logs; that of a filed result may stand among those that ship."""
    beside = run.folder / run_folder.CONTROLLER
    place = run.folder.resolve()
    if beside.exists() or (place.parent.name, place.name) != (run.family, run.method):
        return beside
    return controller_path(place.parent.parent, run.family, run.method)


def header(controller: Controller) -> list[str]:
    """The columns of ``evaluation.csv``: what was noted, the task's values, the return after each inner step."""
    fields = [field.name for field in controller.metadata.task_fields]
    return [*NOTED, *fields, *(f"return_{steps}" for steps in range(controller.metadata.inner_steps + 1))]


def read_rows(path: Path, columns: list[str]) -> list[list[str]]:
    """The rows of an evaluation; none if there is no file or it has other columns. ValueError if it is no such file."""
    try:
        text = path.read_text()
        found, *rows = csv.reader(text.splitlines()) if text else [list(NOTED)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, csv.Error):
        found, rows = [], []
    if tuple(found[: len(NOTED)]) != NOTED:
        raise ValueError(f"{path.name} was not written by metarl report and is not overwritten: move it away")
    whole = found == columns and all(len(row) == len(columns) for row in rows) and all(map(are_numbers, rows))
    return rows if whole else []


def are_numbers(row: list[str]) -> bool:
    """Whether the task and the returns of a row can be read."""
    try:
        [float(cell) for cell in row[len(NOTED) :]]
    except ValueError:
        return False
    return True


def keep(path: Path, columns: list[str], rows: list[list[str]]) -> None:
    """Writes the file in one stroke; one that cannot be written is worth a warning only."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    try:
        write_atomically(path, text.getvalue().encode())
    except ValueError as error:
        warnings.warn(f"{error}; the next report evaluates again", stacklevel=2)
