"""The results that stand in the table: each a run, evaluated and measured once, in its place FAMILY/METHOD.

``evaluation.json`` is written last and is what makes a result. The controllers of a checkout's results are those that
ship, in ``policies/pretrained``; anywhere else the controller stands beside its result.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from metarl import api
from metarl.core.atomic import write_atomically
from metarl.core.errors import Refusal
from metarl.envs.family import TaskFamily
from metarl.envs.registry import get_family
from metarl.experiments.analysis import costs
from metarl.experiments.analysis.costs import Adaptable, adapted_layers
from metarl.experiments.analysis.evaluation import returns_record
from metarl.experiments.analysis.filed import controller_path
from metarl.experiments.analysis.learning_curves import plot_learning_curve
from metarl.experiments.paper.published import TABLE_3
from metarl.policies.controller import Controller
from metarl.policies.files.pretrained import TRAINED
from metarl.policies.loading import load_controller
from metarl.rl.evaluation import family_of
from metarl.rl.settings import TrainSettings, read_config
from metarl.runs import folder as run_folder

Parsed = TypeVar("Parsed")

EVALUATION = "evaluation.json"
FILES = (run_folder.CONFIG, run_folder.PROGRESS, run_folder.TIMINGS)
TASKS = 400  # as in the paper's table
SHIPPED_RESULTS = Path(__file__).parent.parent / "results"


@dataclass(frozen=True)
class Run:
    """A run that is to be filed, finished or not, as it was at the time of looking."""

    family: TaskFamily
    settings: TrainSettings
    controller: Controller
    files: dict[str, bytes]  # the configuration and the logs


@dataclass(frozen=True)
class DeviceCost:
    """One inner step on a device: the layers it updates, the cost model's peak and operations, the peak as it ran.

    Of several inner steps the memory is the largest, operations are the mean.
    """

    layers: tuple[str, ...]
    peak_adaptation_bytes: int
    adaptation_macs: int
    measured_peak_adaptation_bytes: int


@dataclass(frozen=True)
class Result:
    """One cell of the table: iterations trained, mean return after adaptation and its 95 % interval, and the cost."""

    iterations: int
    mean_return: float
    ci95: float
    cost: DeviceCost


def default_results() -> Path:
    """The results of the checkout that is the current folder, if it is one; else those that came with this package."""
    here = Path.cwd() / "experiments" / "results"
    return here if here.is_dir() and (Path.cwd() / "policies" / TRAINED.name).is_dir() else SHIPPED_RESULTS


def check_writable(results: Path, chosen: bool) -> None:
    """ValueError if these are the results of an installed package, unless the user chose the folder."""
    if not chosen and not (results.parent.parent / "pyproject.toml").is_file():
        raise Refusal("the results of an installed metarl are not for writing: name a folder with --results")


def is_filed(results: Path, family: str, method: str) -> bool:
    """Whether there is a result."""
    return (results / family / method / EVALUATION).is_file()


def open_run(folder: Path) -> Run:
    """The run in a folder; ValueError if it is none, if the table has no place for it, or if it has not trained yet."""
    name, settings = read_config(folder)
    if settings.method not in TABLE_3.get(name, {}):
        raise Refusal(f"{folder} holds {settings.method} on {name}, and the table is about {', '.join(TABLE_3)}")
    controller = load_controller(folder / run_folder.CONTROLLER)
    if not controller.metadata.training["iterations"]:
        raise Refusal(f"nothing was trained yet in {folder}")
    return Run(get_family(name), settings, controller, read_files(folder, FILES))


def read_files(folder: Path, names: Sequence[str]) -> dict[str, bytes]:
    """What is in each of the files; ValueError says which cannot be read."""
    try:
        return {name: (folder / name).read_bytes() for name in names}
    except OSError as error:
        raise Refusal(f"cannot read {error.filename}: {error.strerror or error}") from None


def evaluation_record(run: Run, threads: int, on_tasks: Callable[[int], None]) -> dict[str, Any]:
    """What ``evaluation.json`` holds: returns on unseen tasks, whose seed is the training's plus 1, and the cost."""
    seed = run.settings.seed + 1
    evaluation = api.evaluate(
        run.controller, tasks=TASKS, seed=seed, family=run.family, threads=threads, on_tasks=on_tasks
    )
    iterations = run.controller.metadata.training["iterations"]
    measured = device_cost(run.controller, run.family, seed)
    return returns_record(evaluation) | {"seed": seed, "iterations": iterations} | asdict(measured)


def device_cost(controller: Controller, family: TaskFamily, seed: int) -> DeviceCost:
    """The cost model for the layers and channels that the controller chooses, and its steps measured on a few tasks."""
    with costs.environment_episodes(controller, family_of(controller, family), seed) as record:
        taken = costs.take_steps(controller, record)
    model = costs.controller_cost(controller, taken)
    return DeviceCost(
        layers=ever_adapted(controller),
        peak_adaptation_bytes=model.peak_adaptation_bytes,
        adaptation_macs=model.adaptation_macs,
        measured_peak_adaptation_bytes=max(step.peak_bytes for step in taken),
    )


def ever_adapted(adaptable: Adaptable) -> tuple[str, ...]:
    """The layers that any inner step updates."""
    updated = {name for step in range(adaptable.metadata.inner_steps) for name in adapted_layers(adaptable, step)}
    return tuple(name for name in adaptable.network.layer_names if name in updated)


def file_run(run: Run, record: Mapping[str, Any], results: Path) -> None:
    """Puts the run's configuration, logs and learning curve, its controller and its evaluation in their places.

    What was there before is replaced. ValueError says what cannot be written; then there is no result.
    """
    family, method = run.family.name, run.settings.method
    folder, controller = results / family / method, controller_path(results, family, method)
    begin_filing(folder, controller.parent)
    for name, content in run.files.items():
        write_atomically(folder / name, content)
    plot_learning_curve(folder, family, run.settings)
    run.controller.save(controller, overwrite=True)
    write_evaluation(folder, record)


def begin_filing(folder: Path, *others: Path) -> None:
    """Makes the folders, the first of which has no result until all of it is there. ValueError if that cannot be."""
    try:
        for place in (folder, *others):
            place.mkdir(parents=True, exist_ok=True)
        (folder / EVALUATION).unlink(missing_ok=True)
    except OSError as error:
        raise Refusal(f"cannot write to {folder}: {error.strerror or error}") from None


def write_evaluation(folder: Path, record: Mapping[str, Any]) -> None:
    """Writes what makes a result."""
    write_atomically(folder / EVALUATION, (json.dumps(record, indent=2) + "\n").encode())


def read_result(path: Path) -> Result:
    """Reads an ``evaluation.json``; ValueError names the file and what is wrong with it."""

    def parse(content: dict[str, Any]) -> Result:
        after = content["returns"][-1]
        return Result(int(content["iterations"]), float(after["mean"]), float(after["ci95"]), device_cost_in(content))

    return read_evaluation(path, parse)


def device_cost_in(content: Mapping[str, Any]) -> DeviceCost:
    """The cost among other fields."""
    cost = {field.name: content[field.name] for field in fields(DeviceCost)}
    return DeviceCost(**cost | {"layers": tuple(cost["layers"])})


def read_evaluation(path: Path, parse: Callable[[dict[str, Any]], Parsed]) -> Parsed:
    """What ``parse`` makes of an ``evaluation.json``; ValueError names the file and what is wrong with it."""
    try:
        return parse(json.loads(path.read_bytes()))
    except OSError as error:
        raise Refusal(f"cannot read {path}: {error.strerror or error}") from None
    except KeyError as error:
        raise Refusal(f"{path} is not a filed evaluation: {error} is missing") from None
    except (ValueError, TypeError, IndexError, AttributeError) as error:
        raise Refusal(f"{path} is not a filed evaluation: {error}") from None
