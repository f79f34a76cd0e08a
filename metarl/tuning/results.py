"""What a search leaves: its trials as a table, and the preset of the best one."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from metarl.core.atomic import write_atomically
from metarl.core.version import __version__
from metarl.rl.preset_file import write_preset
from metarl.tuning.search import PRESET, Search
from metarl.tuning.study import Outcome, best_outcome

TABLE = "trials.csv"


def write_results(folder: Path, search: Search, ended: Sequence[Outcome]) -> None:
    """Write the trials that have ended, and the preset of the best one if one has come to its end."""
    write_atomically(folder / TABLE, table(search, ended).encode())
    best = best_outcome(ended)
    if best is None:
        return
    found = {
        "family": search.family.name,
        "validation_return": best.value,
        "validation_tasks": search.validation_tasks,
        "trial": best.number,
        "trials": len(ended),
        "iterations": search.settings.iterations,
        "search": search.record()["search"],
        "metarl": __version__,
    }
    write_preset(folder / PRESET, search.preset(best.settings), found)


def table(search: Search, ended: Sequence[Outcome]) -> str:
    """Return a CSV table of the trials: value, state, iterations and what was searched."""
    text = io.StringIO()
    names = [dimension.name for dimension in search.space]
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["trial", "state", "iterations", "return", *names])
    for each in ended:
        value = "" if each.value is None else each.value
        rows.writerow([each.number, each.state, each.iterations, value, *(each.settings[name] for name in names)])
    return text.getvalue()
