"""Read the logs of runs, also of runs in progress and damaged ones."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Log(NamedTuple):
    """The columns of a CSV file by name, each [row], with nan for an empty cell.

    ``damage`` says what could not be read, in words that follow the file's name; it is empty otherwise.
    """

    columns: dict[str, Array]
    damage: str


def read_log(path: Path) -> Log:
    """Read all rows up to the first damaged one, without raising: ``damage`` says what is wrong with the file.

    A file that is missing, or whose last row is being written, is not damaged.
    """
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        return Log({}, "")
    except OSError as error:
        return Log({}, f"cannot be read: {error.strerror or error}")
    except UnicodeDecodeError:
        return Log({}, "is not text")
    whole = text[: text.rfind("\n") + 1].splitlines()
    rows: list[list[float]] = []
    damage = ""
    try:
        header, *cells = csv.reader(whole) if whole else [[]]
    except csv.Error as error:
        return Log({}, f"is damaged: {error}")
    for number, row in enumerate(cells, start=2):
        try:
            rows.append([float(value) if value else np.nan for _, value in zip(header, row, strict=True)])
        except ValueError:
            damage = f"is damaged in line {number}: it was read up to there"
            break
    table = np.array(rows, np.float64).reshape(len(rows), len(header))
    return Log({name: table[:, index] for index, name in enumerate(header)}, damage)


def rows_with(log: dict[str, Array], *names: str) -> dict[str, Array]:
    """Return the rows with a finite number in any of these columns; no columns if there is none of them."""
    found = [np.isfinite(log[name]) for name in names if name in log]
    return {name: values[np.logical_or.reduce(found)] for name, values in log.items()} if found else {}
