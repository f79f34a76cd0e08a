"""A search: what its trials share, the folder that holds it, and the numbers that its trials are judged on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from metarl.core.atomic import write_atomically
from metarl.core.errors import Refusal
from metarl.core.randomness import Purpose, generator
from metarl.core.version import __version__
from metarl.envs.family import Array, TaskFamily
from metarl.policies.controller import Controller
from metarl.rl.evaluation import evaluate_tasks, family_of
from metarl.rl.settings import TrainSettings, preset, with_overrides
from metarl.rl.start import describe
from metarl.rl.training import PolicyTraining
from metarl.runs.folder import differences
from metarl.tuning.space import Dimension, Value, check_space

SEARCH, JOURNAL, TRIALS, PRESET, LOCK = "search.json", "journal.log", "trials", "preset.json", ".lock"
# Seeds that nobody reports, so that neither training nor validation draws what a reported run draws.
FIRST_SEED = 10**9


@dataclass(frozen=True)
class Search:
    """What a search is: all its trials train on the family with ``settings`` but for what ``space`` says.

    A trial's value is the mean return after adaptation on ``validation_tasks`` tasks that no training and no evaluation
    draws, each the same for all trials. With ``prune`` a trial stops where its running return is below the median.
    """

    family: TaskFamily
    settings: TrainSettings
    space: tuple[Dimension, ...]
    validation_tasks: int = 40
    prune: bool = True

    def check(self) -> None:
        """Raise Refusal for a setting that cannot be searched there, or trials that cannot begin."""
        check_space(self.space, self.settings)
        for end in (0, -1):
            self.training({dimension.name: dimension.ends[end] for dimension in self.space})

    def training(self, values: Mapping[str, Value]) -> PolicyTraining:
        """Return the training of a trial."""
        return PolicyTraining(
            self.family, with_overrides(self.settings, {**values, "seed": FIRST_SEED + self.settings.seed})
        )

    def value(self, controller: Controller) -> float:
        """Return the mean return after adaptation on the validation tasks."""
        family, seed = family_of(controller, self.family), FIRST_SEED + self.settings.seed
        tasks = validation_tasks(family, self.validation_tasks, self.settings.seed)
        return evaluate_tasks(controller, family, tasks, seed, self.settings.threads).intervals()[-1].mean

    def preset(self, values: Mapping[str, Value]) -> dict[str, Any]:
        """Return the settings of a trial that differ from the family's usual ones, but for how long it trains."""
        method = self.settings.method
        usual, chosen = asdict(preset(self.family.name, method=method)), asdict(with_overrides(self.settings, values))
        given = {name: value for name, value in chosen.items() if value != usual[name] or name in values}
        return {"method": method} | {
            name: value for name, value in given.items() if name not in ("iterations", "seed", "threads")
        }

    def record(self) -> dict[str, Any]:
        """Return what identifies the search, in the types of JSON; the threads may change."""
        content = {
            "family": self.family.name,
            "trained_on": describe(self.family),
            "settings": asdict(replace(self.settings, threads=1)),
            "search": {dimension.name: str(dimension).partition("=")[2] for dimension in self.space},
            "validation_tasks": self.validation_tasks,
            "prune": self.prune,
            "metarl": __version__,
        }
        parsed: dict[str, Any] = json.loads(json.dumps(content, default=str))
        return parsed


def validation_tasks(family: TaskFamily, count: int, seed: int) -> Array:
    """Return tasks [task, field] from a random stream that neither trainings nor evaluations draw from."""
    return family.sample_tasks(count, generator(FIRST_SEED + seed, Purpose.TUNING))


def sampler_seed(seed: int, trial: int) -> int:
    """Return the seed that a trial's values are drawn by: of the trial alone, so that a search can go on."""
    return int(generator(FIRST_SEED + seed, Purpose.TUNING, 1 + trial).integers(2**32))


def open_folder(folder: Path, search: Search) -> None:
    """Make a search's folder, or check that it holds the same search; Refusal says why it cannot be used."""
    wanted = search.record()
    check_place(folder, wanted)
    try:
        (folder / TRIALS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refusal(f"cannot write to {folder}: {error.strerror or error}") from None
    with FileLock(folder / LOCK):
        check_place(folder, wanted)  # another process may have begun another search here meanwhile
        if not (folder / SEARCH).is_file():
            write_atomically(folder / SEARCH, f"{json.dumps(wanted, indent=2)}\n".encode())


def check_place(folder: Path, wanted: Mapping[str, Any]) -> None:
    """Raise Refusal unless a folder holds the search that is wanted, or nothing."""
    if (folder / SEARCH).is_file():
        begun = read_search(folder / SEARCH)
        if differing := list(differences(begun | {"metarl": __version__}, wanted)):
            raise Refusal(
                f"{folder} holds another search: {'; '.join(differing[:3])}; choose another folder with --out"
            )
        return
    empty = not folder.exists() or (folder.is_dir() and {entry.name for entry in folder.iterdir()} <= {LOCK, TRIALS})
    if not empty:
        raise Refusal(f"{folder} exists already and is no search: choose another folder with --out")


def read_search(path: Path) -> dict[str, Any]:
    """Return the record of a search; raise Refusal if the file is damaged."""
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise Refusal(f"{path} is damaged: choose another folder with --out")
    return content
