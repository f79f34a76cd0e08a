"""The runs of a report: read from their folders, and grouped where they differ in nothing but the seed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

from pydantic import TypeAdapter, ValidationError

from metarl.core.errors import Refusal
from metarl.experiments.analysis.logs import Array, Log, read_log, rows_with
from metarl.images.logs import VALIDATION
from metarl.images.training import FAMILY as IMAGES
from metarl.runs import folder as run_folder

SAME_KIND = ("seed", "threads")  # settings in which runs of one kind may differ


@dataclass(frozen=True)
class Config:
    """The part of ``config.json`` that a report reads; another version of metarl may have written it."""

    family: str
    settings: dict[str, Any]
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PolicyKeys:
    """The settings that a report needs of a run of reinforcement learning."""

    method: str
    seed: int
    inner_steps: int
    iterations: int


@dataclass(frozen=True)
class ImageKeys:
    """The settings that a report needs of a run on images."""

    method: str
    seed: int
    inner_steps: int
    epochs: int
    data: str
    backbone: str


@dataclass(frozen=True)
class Run:
    """A run as its folder tells it."""

    folder: Path
    name: str
    family: str
    settings: dict[str, Any]
    versions: dict[str, str]
    progress: dict[str, Array]
    timings: dict[str, Array]
    notes: tuple[str, ...]  # what is missing or damaged

    @property
    def method(self) -> str:
        """The meta-learning method."""
        return str(self.settings["method"])

    @property
    def seed(self) -> int:
        """The seed of the training."""
        return int(self.settings["seed"])

    @property
    def is_on_images(self) -> bool:
        """Whether the run is about few-shot images."""
        return self.family == IMAGES

    @property
    def topic(self) -> str:
        """What runs must share to be compared: the task family, or the data and the network of images."""
        return f"{self.settings['data']} ({self.settings['backbone']})" if self.is_on_images else self.family

    @property
    def length(self) -> int:
        """Iterations that were asked for, or epochs on images."""
        return int(self.settings["epochs" if self.is_on_images else "iterations"])

    @property
    def done(self) -> int:
        """Iterations in the log, or the last validated epoch on images."""
        if self.is_on_images:
            return int(max(rows_with(self.epochs, "epoch").get("epoch", ()), default=0))
        return len(self.progress.get("iteration", ()))

    @property
    def epochs(self) -> dict[str, Array]:
        """The rows of the log with a validation, each the last of an epoch on images."""
        return rows_with(self.progress, VALIDATION)

    @property
    def inner_steps(self) -> int:
        """K, the steps of the inner loop."""
        return int(self.settings["inner_steps"])


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but the seed."""

    label: str
    runs: tuple[Run, ...]

    @property
    def progress(self) -> list[dict[str, Array]]:
        """The columns of each run's ``progress.csv``."""
        return [run.progress for run in self.runs]

    @property
    def timings(self) -> list[dict[str, Array]]:
        """The columns of each run's ``timings.csv``."""
        return [run.timings for run in self.runs]

    @property
    def inner_steps(self) -> int:
        """K, the steps of the inner loop."""
        return self.runs[0].inner_steps


def find_folders(folders: Sequence[Path]) -> list[Path]:
    """Return run folders, each once, in order.

    A folder that is no run stands for the runs in it, or for those one level further down, as filed results are. Raise
    Refusal if there are none.
    """
    found: dict[Path, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise Refusal(f"there is no folder {folder}")
        patterns = (run_folder.CONFIG, f"*/{run_folder.CONFIG}", f"*/*/{run_folder.CONFIG}")
        inside = next((configs for pattern in patterns if (configs := sorted(folder.glob(pattern)))), [])
        if not inside:
            raise Refusal(f"{folder} is not the folder of a run, and holds none: there is no {run_folder.CONFIG}")
        for config in inside:
            found.setdefault(config.parent.resolve(), config.parent)
    return list(found.values())


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Read the runs; raise Refusal naming a damaged configuration. Damaged logs become notes."""
    runs = [read_run(folder) for folder in find_folders(folders)]
    shared = Counter((run.topic, run.name) for run in runs)
    return [replace(run, name=str(run.folder)) if shared[run.topic, run.name] > 1 else run for run in runs]


def read_run(folder: Path) -> Run:
    """Read one run, finished or not."""
    config = read_config(folder / run_folder.CONFIG)
    progress, timings = (read_log(folder / name) for name in (run_folder.PROGRESS, run_folder.TIMINGS))
    return Run(
        folder=folder,
        name=folder.resolve().name,
        family=config.family,
        settings=config.settings,
        versions=config.versions,
        progress=rows_with(progress.columns, "iteration"),
        timings=rows_with(timings.columns, "iteration"),
        notes=(*remarks(folder / run_folder.PROGRESS, progress), *remarks(folder / run_folder.TIMINGS, timings)),
    )


def remarks(path: Path, log: Log) -> list[str]:
    """Return what the reader of a report should know about a log."""
    if log.damage:
        return [f"{path.name} {log.damage}."]
    if len(log.columns.get("iteration", ())):
        return []
    return [f"{path.name} holds no iterations." if path.exists() else f"there is no {path.name}."]


def read_config(path: Path) -> Config:
    """Read ``config.json``; raise Refusal naming the file and what is wrong with it."""
    try:
        config = TypeAdapter(Config).validate_json(path.read_bytes(), strict=True)
        needed = TypeAdapter(ImageKeys if config.family == IMAGES else PolicyKeys)
        needed.validate_python(config.settings)
    except OSError as error:
        raise Refusal(f"cannot read {path}: {error.strerror or error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        told = ": ".join([*map(str, first["loc"]), first["msg"]])
        raise Refusal(f"{path} is not the configuration of a run: {told}") from None
    if config.family == IMAGES:
        config.settings["data"] = PurePath(config.settings["data"]).name  # its folder is another on each machine
    return config


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Return the runs of one topic by kind, and those of a kind by seed.

    Runs of one kind with the same seed are no sample of seeds: then each run of that kind is a group.
    """
    kinds: dict[str, list[Run]] = {}
    for run in runs:
        kinds.setdefault(json.dumps(kind(run), sort_keys=True), []).append(run)
    differing = differences([members[0] for members in kinds.values()])
    ambiguous = len({members[0].method for members in kinds.values()}) < len(kinds)
    groups = []
    for members in kinds.values():
        first = members[0]
        told = [f"{name} {shown(first.settings.get(name))}" for name in differing if name != "method"]
        label = ", ".join([first.method, *(told if ambiguous else ())])
        if len({run.seed for run in members}) == len(members):
            groups.append(Group(label, tuple(sorted(members, key=lambda run: run.seed))))
        else:
            groups += [Group(f"{label} ({run.name})", (run,)) for run in members]
    return groups


def kind(run: Run) -> dict[str, Any]:
    """Return the settings that runs of one group have in common."""
    return {name: value for name, value in run.settings.items() if name not in SAME_KIND}


def differences(runs: Sequence[Run]) -> list[str]:
    """Return the names of the settings in which runs of several kinds differ."""
    names = dict.fromkeys(name for run in runs for name in kind(run))
    return [name for name in names if len({json.dumps(run.settings.get(name)) for run in runs}) > 1]


def shown(value: object) -> str:
    """Return a setting as one types it."""
    if value is None:
        return "default"
    if isinstance(value, list):
        return " ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
