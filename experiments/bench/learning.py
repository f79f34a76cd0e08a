"""How soon HalfCheetah learns: environment steps and seconds until it reaches the paper's return of MAML."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from metarl import api
from metarl.callbacks import StopOnScore
from metarl.core.errors import Refusal
from metarl.core.threads import available_threads
from metarl.experiments.analysis.logs import Array, read_log
from metarl.experiments.bench.measure import FAMILY, print_table
from metarl.rl.settings import preset, read_config
from metarl.rl.training import SELECTION_WINDOW
from metarl.runs.folder import PROGRESS, TIMINGS

TARGET_RETURN = -82.2  # of MAML in the paper's Table 3
SEEDS = (0, 1, 2)
MOST_ITERATIONS = 200


def run(threads: int | None = None, runs: Sequence[Path] = ()) -> dict[str, Any]:
    """Read when the given runs reached the target; without any, train the preset with three seeds until they do."""
    if runs:
        return summarized([read_run(folder) for folder in runs])
    with tempfile.TemporaryDirectory() as folder:
        return summarized(
            [train_until_reached(seed, threads or available_threads(), Path(folder) / f"seed{seed}") for seed in SEEDS]
        )


def show(result: dict[str, Any]) -> None:
    """Print when each run reached the target, and the means of those that did."""
    rows = [
        [each["name"], *(f"{each[key]:,.0f}" if each["reached"] else "-" for key in ("iteration", "steps", "seconds"))]
        for each in result["runs"]
    ]
    reached = sum(each["reached"] for each in result["runs"])
    means = f": {result['steps'] / 1e6:.1f} million steps and {result['seconds']:,.0f} s on average" if reached else ""
    print_table(
        f"{FAMILY} until the mean of {SELECTION_WINDOW} iterations first reaches {TARGET_RETURN}",
        ["run", "iteration", "environment steps", "seconds"],
        rows,
        f"{reached} of {len(rows)} runs reached it{means}",
    )


def train_until_reached(seed: int, threads: int, folder: Path) -> dict[str, Any]:
    """Train the preset with one seed into a new folder, until it reaches the target; return when that was."""
    settings = preset(FAMILY, seed=seed, threads=threads, iterations=MOST_ITERATIONS)
    api.train(FAMILY, settings=settings, out=folder, callbacks=[StopOnScore(TARGET_RETURN)])
    return read_run(folder)


def read_run(folder: Path) -> dict[str, Any]:
    """Return when a run reached the target, from its logs; raise Refusal if it is no run of the family."""
    family, settings = read_config(folder)
    if family != FAMILY:
        raise Refusal(f"bench learning is about {FAMILY}, and {folder} holds a run of {family}")
    progress, timings = read_log(folder / PROGRESS).columns, read_log(folder / TIMINGS).columns
    if "env_steps" not in progress or "env_steps_per_second" not in timings:
        raise Refusal(f"{folder} lacks {PROGRESS} or {TIMINGS}, or nothing was trained there yet")
    returns = progress[f"return_{settings.inner_steps}"]
    reached = first_reached(returns)
    count = len(returns) if reached is None else reached
    seconds = sum(np.nansum(column[:count]) for name, column in timings.items() if name.endswith("_seconds"))
    return {
        "name": f"{settings.method}{', gate' if settings.gated else ''}, seed {settings.seed}",
        "reached": reached is not None,
        "iteration": count,
        "steps": float(np.nansum(progress["env_steps"][:count])),
        "seconds": float(seconds),
    }


def first_reached(returns: Array) -> int | None:
    """Return the first iteration, from 1, that ends SELECTION_WINDOW iterations whose mean is the target or above.

    An abandoned iteration has no return, and its window does not count.
    """
    if len(returns) < SELECTION_WINDOW:
        return None
    means = np.lib.stride_tricks.sliding_window_view(returns, SELECTION_WINDOW).mean(axis=1)
    hits = np.flatnonzero(means >= TARGET_RETURN)
    return int(hits[0]) + SELECTION_WINDOW if hits.size else None


def summarized(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the runs with the mean steps and seconds of those that reached the target, None if none has."""
    reached = [each for each in runs if each["reached"]]
    means = {key: fmean(each[key] for each in reached) if reached else None for key in ("steps", "seconds")}
    return {"target": TARGET_RETURN, "runs": list(runs), **means}
