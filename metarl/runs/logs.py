"""The logs of a run: CSV files that grow by a row per iteration."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path

from metarl.core.atomic import CannotWrite
from metarl.core.errors import Refusal
from metarl.runs.folder import PROGRESS, TIMINGS
from metarl.runs.state import Row, Step

SUCCESS = "success_"  # begins the columns of success rates, of which few environments tell
MOVED = "bytes_"  # begins the columns of what travels, where workers are in other processes


def seconds_column(phase: str) -> str:
    """Return the column of a phase in ``timings.csv``."""
    return f"{phase.replace(' ', '_').replace('-', '_')}_seconds"


class RunLog:
    """Appends every iteration to ``progress.csv`` and ``timings.csv``.

    A file that exists already keeps the columns of its header, so that a run can go on that was started when there
    were fewer. A new one has no columns of successes, or of bytes that travel, if the first iteration tells of none,
    and was without a fault.
    Refusal if a file has a column that is not among ``columns``, or cannot be read.
    """

    def __init__(self, folder: Path, columns: Mapping[str, list[str]]) -> None:
        self.wanted = columns
        self.columns = {name: columns_of(folder / name, wanted) for name, wanted in columns.items()}
        self.folder = folder

    def append(self, step: Step) -> None:
        """Add a row to each file; CannotWrite if that is not possible."""
        for name, row in ((PROGRESS, step.scalars), (TIMINGS, step.timings)):
            path = self.folder / name
            if not step.fault and not path.exists():
                self.columns[name] = [
                    column for column in self.wanted[name] if column in row or not column.startswith((SUCCESS, MOVED))
                ]
            left_out = set(self.wanted[name]) - set(self.columns[name])
            append_row(path, self.columns[name], {key: value for key, value in row.items() if key not in left_out})

    def lengths(self) -> dict[str, int]:
        """Return the bytes in each log."""
        paths = (self.folder / name for name in self.columns)
        return {path.name: path.stat().st_size for path in paths if path.exists()}

    def sync(self) -> None:
        """Return when the logs are safe on the disk; CannotWrite if that is not possible."""
        for name in self.lengths():
            try:
                with (self.folder / name).open("rb") as file:
                    os.fsync(file.fileno())
            except OSError as error:
                raise CannotWrite(f"cannot write {self.folder / name}: {error.strerror or error}") from None


def columns_of(path: Path, columns: list[str]) -> list[str]:
    """Return the header of a CSV file, or ``columns`` if there is none; Refusal if it has others than these."""
    try:
        with path.open(newline="") as file:
            header = next(csv.reader(file), [])
    except FileNotFoundError:
        return columns
    except (OSError, ValueError, csv.Error) as error:
        raise Refusal(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    if not header or not set(header) <= set(columns):
        raise Refusal(f"the columns of {path} are not those of this run: it was altered, so the run cannot go on")
    return header


def append_row(path: Path, columns: list[str], row: Row) -> None:
    """Add one row to a CSV file, and the header to a new one; CannotWrite if that is not possible."""
    try:
        is_new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            if is_new:
                writer.writeheader()
            writer.writerow(row)
    except OSError as error:
        raise CannotWrite(f"cannot write {path}: {error.strerror or error}") from None


def cut_logs(folder: Path, log_bytes: Mapping[str, int]) -> None:
    """Cut the logs back to the lengths they had, to nothing where there was none; Refusal if one is shorter."""
    for name in (PROGRESS, TIMINGS):
        path, length = folder / name, log_bytes.get(name, 0)
        if not path.exists() and not length:
            continue
        size = path.stat().st_size if path.exists() else 0
        if size < length:
            raise Refusal(f"{path} is shorter than at the checkpoint: it was altered, so the run cannot go on")
        if length:
            os.truncate(path, length)
        else:
            path.unlink()
