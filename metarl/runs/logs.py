"""The logs of a run: CSV files that grow by a row per iteration, and TensorBoard events."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from metarl.runs.folder import PROGRESS, TIMINGS
from metarl.runs.state import Row


def seconds_column(phase: str) -> str:
    """Return the column of a phase in ``timings.csv``."""
    return f"{phase.replace(' ', '_').replace('-', '_')}_seconds"


class RunLog:
    """Append every iteration to the CSV files and to TensorBoard.

    A file that exists already keeps the columns of its header, so that a run can go on that was started when there
    were fewer. ValueError if it has a column that is not among ``columns``, or cannot be read.
    """

    def __init__(self, folder: Path, columns: Mapping[str, list[str]], start: int) -> None:
        self.columns = {name: columns_of(folder / name, wanted) for name, wanted in columns.items()}
        self.left_out = {name: set(wanted) - set(self.columns[name]) for name, wanted in columns.items()}
        self.folder = folder
        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=start + 1 if start else None)

    def append(self, iteration: int, rows: Mapping[str, Row]) -> None:
        """Add a row to each file; ValueError if that cannot be written."""
        for name, row in rows.items():
            written = {scalar: value for scalar, value in row.items() if scalar not in self.left_out[name]}
            append_row(self.folder / name, self.columns[name], written)
            for scalar, value in row.items():
                if scalar != "iteration" and not math.isnan(value):
                    self.board.add_scalar(scalar, value, iteration)

    def lengths(self) -> dict[str, int]:
        """Return the bytes in each log."""
        paths = (self.folder / name for name in self.columns)
        return {path.name: path.stat().st_size for path in paths if path.exists()}

    def sync(self) -> None:
        """Return when the logs are safe on the disk."""
        for name in self.lengths():
            with (self.folder / name).open("rb") as file:
                os.fsync(file.fileno())

    def close(self) -> None:
        """Close the TensorBoard events; the CSV files are never left open."""
        self.board.close()


def columns_of(path: Path, columns: list[str]) -> list[str]:
    """Return the header of a CSV file, or ``columns`` if there is none; ValueError if it has others than these."""
    try:
        with path.open(newline="") as file:
            header = next(csv.reader(file), [])
    except FileNotFoundError:
        return columns
    except (OSError, ValueError, csv.Error) as error:
        raise ValueError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    if not header or not set(header) <= set(columns):
        raise ValueError(f"the columns of {path} are not those of this run: it was altered, so the run cannot go on")
    return header


def append_row(path: Path, columns: list[str], row: Mapping[str, float | int]) -> None:
    """Add one row to a CSV file, and the header to a new one; ValueError if it cannot be written."""
    try:
        is_new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            if is_new:
                writer.writeheader()
            writer.writerow(row)
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error.strerror or error}") from None


def cut_logs(folder: Path, log_bytes: Mapping[str, int]) -> None:
    """Cut the logs back to their lengths at a checkpoint, to nothing where it had none."""
    for name in (PROGRESS, TIMINGS):
        path, length = folder / name, log_bytes.get(name, 0)
        if not path.exists() and not length:
            continue
        size = path.stat().st_size if path.exists() else 0
        if size < length:
            raise ValueError(f"{path} is shorter than at the checkpoint: it was altered, so the run cannot go on")
        if length:
            os.truncate(path, length)
        else:
            path.unlink()
