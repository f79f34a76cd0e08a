"""The runs of a report: read from their folders, and grouped where they differ in nothing but the seed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from metarl.experiments.analysis.logs import Array, Log, read_log, rows_with
from metarl.images.logs import VALIDATION
from metarl.images.training import FAMILY as IMAGES
from metarl.runs import folder as run_folder

# What makes no other kind of run: the seed, and how many threads did the work.
INDIFFERENT = ("seed", "threads")


@dataclass(frozen=True)
class Run:
    """A run as its folder tells it. ``settings`` are those of ``config.json``, also of another version of metarl."""

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
        return str(self.settings["method"])

    @property
    def seed(self) -> int:
        return int(self.settings["seed"])

    @property
    def is_about_images(self) -> bool:
        return self.family == IMAGES

    @property
    def topic(self) -> str:
        """What runs must share to be compared: the task family; of images the data and the network."""
        return f"{self.settings['data']} ({self.settings['backbone']})" if self.is_about_images else self.family

    @property
    def length(self) -> int:
        """Iterations that were asked for; of images epochs."""
        return int(self.settings["epochs" if self.is_about_images else "iterations"])

    @property
    def done(self) -> int:
        """Iterations in the log; of images the last epoch that has been validated."""
        if self.is_about_images:
            return int(max(rows_with(self.epochs, "epoch").get("epoch", ()), default=0))
        return len(self.progress.get("iteration", ()))

    @property
    def epochs(self) -> dict[str, Array]:
        """Of images the rows of the log that have a validation, each the last of an epoch."""
        return rows_with(self.progress, VALIDATION)

    @property
    def inner_steps(self) -> int:
        return int(self.settings["inner_steps"])


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but the seed."""

    label: str
    runs: tuple[Run, ...]

    @property
    def progress(self) -> list[dict[str, Array]]:
        return [run.progress for run in self.runs]

    @property
    def timings(self) -> list[dict[str, Array]]:
        return [run.timings for run in self.runs]

    @property
    def inner_steps(self) -> int:
        return self.runs[0].inner_steps


def find_folders(folders: Sequence[Path]) -> list[Path]:
    """The run folders among ``folders`` and, where one is no run, directly in it; each once, in order.

    Where none is directly in it, those are found that are one level further down, as filed results are.
    ValueError if there is none.
    """
    found: dict[Path, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"there is no folder {folder}")
        inside = [folder]
        if not (folder / run_folder.CONFIG).exists():
            inside = sorted(path.parent for path in folder.glob(f"*/{run_folder.CONFIG}"))
        if not inside:
            inside = sorted(path.parent for path in folder.glob(f"*/*/{run_folder.CONFIG}"))
        if not inside:
            raise ValueError(f"{folder} is not the folder of a run, and holds none: there is no {run_folder.CONFIG}")
        for path in inside:
            found.setdefault(path.resolve(), path)
    return list(found.values())


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Reads the runs; ValueError names the folder whose configuration is damaged. Damaged logs become notes."""
    runs = [read_run(folder) for folder in find_folders(folders)]
    shared = Counter((run.topic, run.name) for run in runs)
    return [replace(run, name=str(run.folder)) if shared[run.topic, run.name] > 1 else run for run in runs]


def read_run(folder: Path) -> Run:
    """Reads one run, finished or not."""
    family, settings, versions = read_config(folder / run_folder.CONFIG)
    progress, timings = (read_log(folder / name) for name in (run_folder.PROGRESS, run_folder.TIMINGS))
    return Run(
        folder=folder,
        name=folder.resolve().name,
        family=family,
        settings=settings,
        versions=versions,
        progress=rows_with(progress.columns, "iteration"),
        timings=rows_with(timings.columns, "iteration"),
        notes=(*remarks(folder / run_folder.PROGRESS, progress), *remarks(folder / run_folder.TIMINGS, timings)),
    )


def remarks(path: Path, log: Log) -> list[str]:
    """What the reader of a report should know about a log."""
    if log.damage:
        return [f"{path.name} {log.damage}."]
    if len(log.columns.get("iteration", ())):
        return []
    return [f"{path.name} holds no iterations." if path.exists() else f"there is no {path.name}."]


def read_config(path: Path) -> tuple[str, dict[str, Any], dict[str, str]]:
    """Family, settings and versions. Looser than what resuming needs: another version of metarl may have written it."""
    try:
        content = json.loads(path.read_bytes())
        family, settings = content["family"], dict(content["settings"])
        versions = {str(name): str(version) for name, version in dict(content.get("versions", {})).items()}
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from None
    except KeyError as error:
        raise ValueError(f"{path} is not the configuration of a run: {error} is missing") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is not the configuration of a run: {error}") from None
    is_about_images = family == IMAGES
    texts = ["method", *(["data", "backbone"] if is_about_images else [])]
    numbers = ["seed", "inner_steps", "epochs" if is_about_images else "iterations"]
    kinds: dict[str, tuple[object, type]] = {"family": (family, str)}
    kinds |= {name: (settings.get(name), str) for name in texts} | {name: (settings.get(name), int) for name in numbers}
    for name, (value, kind) in kinds.items():
        if not isinstance(value, kind):
            raise ValueError(f"{path} is not the configuration of a run: {name} is {value!r}")
    if is_about_images:
        # The same data lie elsewhere on another machine.
        settings["data"] = PurePath(settings["data"]).name
    return family, settings, versions


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """The runs of one family by kind, each kind's by seed.

    Runs of one kind and the same seed are no sample of seeds: then each run of that kind stands alone.
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
    """What runs of one group have in common."""
    return {name: value for name, value in run.settings.items() if name not in INDIFFERENT}


def differences(runs: Sequence[Run]) -> list[str]:
    """The names of the settings in which the runs differ, but for seeds and threads."""
    names = dict.fromkeys(name for run in runs for name in kind(run))
    return [name for name in names if len({json.dumps(run.settings.get(name)) for run in runs}) > 1]


def shown(value: object) -> str:
    """A setting as one types it."""
    if value is None:
        return "default"
    if isinstance(value, list):
        return " ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
