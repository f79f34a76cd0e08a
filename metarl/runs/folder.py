"""A run's folder: its configuration, its log, its checkpoints and its controller."""

from __future__ import annotations

import csv
import json
import math
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from torch.utils.tensorboard import SummaryWriter

from metarl.core.version import __version__
from metarl.envs.family import TaskFamily
from metarl.images.settings import ImageSettings
from metarl.kept_channels import kept_columns, kept_row
from metarl.policies.controller import Controller
from metarl.policies.files.metadata import ControllerMetadata, FieldRecord
from metarl.policies.methods import get_method
from metarl.rl.settings import TrainSettings
from metarl.rl.training import Step, build_network, with_horizon
from metarl.runs.state import TrainingState

Parsed = TypeVar("Parsed")
Row = dict[str, float | int]

CONTROLLER = "controller.safetensors"
PROGRESS = "progress.csv"
TIMINGS = "timings.csv"
CONFIG = "config.json"
PHASES = ("sampling", "advantages", "inner loop", "meta-gradient", "conjugate gradient", "line search")
PACKAGES = ("torch", "mujoco", "gymnasium", "numpy", "stable-baselines3")


def create(folder: Path, family: str, settings: TrainSettings | ImageSettings) -> None:
    """Makes the folder and writes ``config.json``; ValueError if it holds anything already or cannot be written."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} exists already and is not overwritten: choose another folder with --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG).write_text(json.dumps(config(family, settings), indent=2, default=str) + "\n")
    except OSError as error:
        raise ValueError(f"cannot write to {folder}: {error.strerror or error}") from None


def config(family: str, settings: TrainSettings | ImageSettings) -> dict[str, Any]:
    """What the run was asked for, and the versions it ran with."""
    versions = {"metarl": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {"family": family, "settings": asdict(settings), "versions": versions, "machine": platform.machine()}


def read_config(folder: Path) -> tuple[str, TrainSettings]:
    """The family and the settings of a run; ValueError says why the folder is none."""

    def parse(content: dict[str, Any]) -> tuple[str, TrainSettings]:
        settings = content["settings"]
        return str(content["family"]), TrainSettings(**settings | {"hidden_sizes": tuple(settings["hidden_sizes"])})

    return parse_config(folder, parse)


def parse_config(folder: Path, parse: Callable[[dict[str, Any]], Parsed]) -> Parsed:
    """What ``parse`` makes of ``config.json``; ValueError says why the folder is not that of such a run."""
    path = folder / CONFIG
    try:
        return parse(json.loads(path.read_text()))
    except OSError as error:
        raise ValueError(f"{folder} is not the folder of a run: {path.name}: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not the configuration of a run: {error}") from None


def progress_columns(settings: TrainSettings, layer_names: tuple[str, ...]) -> list[str]:
    """The columns of ``progress.csv``."""
    returns = [f"return_{number}{suffix}" for number in range(settings.inner_steps + 1) for suffix in ("", "_ci95")]
    step_sizes = [f"step_size_{layer}_{number + 1}" for layer in layer_names for number in range(settings.inner_steps)]
    search = ["kl", "loss_before", "loss_after", "line_search_trials", "step_accepted", "skipped"]
    kept = kept_columns(get_method(settings.method), layer_names, settings.inner_steps)
    return ["iteration", *returns, *search, "action_std", "env_steps", *step_sizes, *kept]


def progress_row(step: Step) -> dict[str, float | int]:
    """The row of ``progress.csv``: nothing that depends on the clock, and little if a fault ended the iteration."""
    row: dict[str, float | int] = {"iteration": step.state.iteration, "skipped": step.state.skipped}
    if step.report is None:
        return row | {"step_accepted": 0}
    report, search = step.report, step.report.search
    for number, interval in enumerate(report.returns):
        row |= {f"return_{number}": interval.mean, f"return_{number}_ci95": interval.ci95}
    for layer, step_sizes in report.step_sizes.items():
        row |= {f"step_size_{layer}_{number}": alpha for number, alpha in enumerate(step_sizes, start=1)}
    row |= kept_row(report.kept)
    return row | {
        "kl": search.measured.kl,
        "loss_before": report.loss_before,
        "loss_after": search.measured.loss,
        "line_search_trials": search.trials,
        "step_accepted": int(search.accepted),
        "action_std": report.action_std,
        "env_steps": report.steps,
    }


def timings_row(step: Step) -> dict[str, float | int]:
    """The row of ``timings.csv``: seconds by phase, and environment steps per second of sampling."""
    row: dict[str, float | int] = {"iteration": step.state.iteration}
    row |= {column(phase): spent for phase, spent in step.seconds.items()}
    if step.report is not None:
        row["env_steps_per_second"] = step.report.steps / step.seconds["sampling"]
    return row


def timings_columns() -> list[str]:
    """The columns of ``timings.csv``."""
    return ["iteration", *map(column, PHASES), "env_steps_per_second"]


def column(phase: str) -> str:
    """The column of a phase in ``timings.csv``."""
    return f"{phase.replace(' ', '_').replace('-', '_')}_seconds"


class RunLog:
    """Appends every iteration to CSV files, by the columns of each, and to TensorBoard.

    A file that is there already keeps the columns of its header, so that a run goes on that was begun when there were
    fewer; ValueError if it has one that is not among ``columns``, or cannot be read.
    """

    def __init__(self, folder: Path, columns: Mapping[str, list[str]], start: int) -> None:
        self.columns = {name: columns_of(folder / name, wanted) for name, wanted in columns.items()}
        self.left_out = {name: set(wanted) - set(self.columns[name]) for name, wanted in columns.items()}
        self.folder = folder
        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=start + 1 if start else None)

    def append(self, iteration: int, rows: Mapping[str, Row]) -> None:
        """Adds a row to each file; ValueError if that cannot be written."""
        for name, row in rows.items():
            written = {scalar: value for scalar, value in row.items() if scalar not in self.left_out[name]}
            append_row(self.folder / name, self.columns[name], written)
            for scalar, value in row.items():
                if scalar != "iteration" and not math.isnan(value):
                    self.board.add_scalar(scalar, value, iteration)

    def lengths(self) -> dict[str, int]:
        """The bytes in each log, once they are safe on the disk."""
        lengths = {}
        for name in self.columns:
            path = self.folder / name
            if path.exists():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
                lengths[name] = path.stat().st_size
        return lengths

    def close(self) -> None:
        self.board.close()


def columns_of(path: Path, columns: list[str]) -> list[str]:
    """The header of a CSV file, or ``columns`` if there is no such file; ValueError if others than these are in it."""
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
    """Adds one row to a CSV file, and its header to a new one; ValueError if it cannot be written."""
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
    """Cuts the logs back to where they stood at a checkpoint (to nothing if it had none)."""
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


def best_controller(family: TaskFamily, settings: TrainSettings, state: TrainingState) -> Controller:
    """The controller of the best iteration so far, with a record of its training."""
    horizon = with_horizon(family, settings.horizon).horizon
    record = {
        "seed": settings.seed,
        "iterations": state.iteration,
        "best_iteration": state.best_iteration,
        "best_return": state.best_score,
        "settings": asdict(replace(settings, threads=1)),
        "metarl": __version__,
    }
    metadata = ControllerMetadata(
        method=settings.method,
        family=family.name,
        task_fields=tuple(FieldRecord(**asdict(field)) for field in family.fields),
        horizon=horizon,
        observation_low=tuple(family.observation_space.low.tolist()),
        observation_high=tuple(family.observation_space.high.tolist()),
        action_low=tuple(family.action_space.low.tolist()),
        action_high=tuple(family.action_space.high.tolist()),
        action_scale=settings.action_scale,
        inner_steps=settings.inner_steps,
        episodes_per_step=settings.episodes,
        discount=settings.discount,
        gae_lambda=settings.gae_lambda,
        training=record,
    )
    parameters = {name: tensor.detach().clone() for name, tensor in state.best_parameters.items()}
    return Controller(parameters, build_network(family, settings), metadata)
