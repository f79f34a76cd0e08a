"""Filed results: for each a folder FAMILY/NAME with ``evaluation.json`` and the files of its run.

``evaluation.json`` is written last: a folder without it holds no result.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config

from metarl.core.atomic import write_atomically
from metarl.core.errors import Refusal
from metarl.cost.operations import Cost
from metarl.experiments.analysis.adaptable import Adaptable, ever_adapted
from metarl.experiments.paper.cells import Scale
from metarl.policies.files.pretrained import TRAINED

EVALUATION = "evaluation.json"
SHIPPED_RESULTS = Path(__file__).parent.parent / "results"
STRICT = with_config(ConfigDict(extra="forbid", strict=True))

Result = TypeVar("Result", "PolicyResult", "ImageResult")


@STRICT
@dataclass(frozen=True)
class Score:
    """A mean over unseen tasks after ``steps`` inner steps, and half the width of its 95 % interval."""

    steps: int
    mean: float
    ci95: float


Scores = Annotated[tuple[Score, ...], Field(min_length=1)]


@STRICT
@dataclass(frozen=True)
class DeviceCost:
    """One inner step on a device: the layers it updates, the cost model's peak and operations, the peak as it ran.

    Of several inner steps the memory is the largest, operations are the mean.
    """

    layers: tuple[str, ...]
    peak_adaptation_bytes: int
    adaptation_macs: int
    measured_peak_adaptation_bytes: int


@STRICT
@dataclass(frozen=True)
class PolicyResult:
    """Returns of a policy before and after adaptation, the iterations of its training, and the fields of DeviceCost.

    ``seed`` is that of the evaluation. ``worse`` is the share of tasks whose return adaptation lowered by more than its
    interval over episodes, ``horizon`` the time steps of an episode; results that were filed before they were recorded
    lack them.
    """

    tasks: int
    returns: Scores
    seed: int
    iterations: int
    layers: tuple[str, ...]
    peak_adaptation_bytes: int
    adaptation_macs: int
    measured_peak_adaptation_bytes: int
    worse: float | None = None
    horizon: int | None = None


@STRICT
@dataclass(frozen=True)
class Trial:
    """Accuracies of an image network before and after adaptation, and the tasks that it was tested on."""

    tasks: int
    accuracies: Scores
    data: str
    split: str
    ways: int
    shots: int
    queries: int
    seed: int
    images_at_once: int


@STRICT
@dataclass(frozen=True)
class ImageCost:
    """One inner step on a device, for images as large as in training.

    ``paper_bytes`` and ``paper_macs`` are the model's for the same layers and channels on the paper's 84 x 84 images.
    """

    trained: DeviceCost
    paper_bytes: int
    paper_macs: int


@STRICT
@dataclass(frozen=True)
class ImageResult:
    """What an image network was trained on, its trials by name, and the cost if it belongs to Table 2."""

    data: str
    scale: Scale
    iterations: int
    best_epoch: int
    trials: dict[str, Trial]
    cost: ImageCost | None


def default_results() -> Path:
    """Return the results of the checkout that is the current folder, or else those that came with this package."""
    here = Path.cwd() / "experiments" / "results"
    return here if here.is_dir() and (Path.cwd() / "policies" / TRAINED.name).is_dir() else SHIPPED_RESULTS


def check_writable(results: Path, chosen: bool) -> None:
    """Raise Refusal if these are the results of an installed package, unless the user chose the folder."""
    if not chosen and not (results.parent.parent / "pyproject.toml").is_file():
        raise Refusal(
            "the current folder is no clone of metarl's repository, and the results of an installed metarl are not "
            "for writing: name a folder with --results"
        )


def is_filed(results: Path, family: str, name: str) -> bool:
    """Return whether there is a result."""
    return (results / family / name / EVALUATION).is_file()


def check_unfiled(results: Path, family: str, name: str, replace: bool) -> None:
    """Raise Refusal if there is such a result and it may not be replaced.

    Args:
        results: The folder of the results.
        family: The family's folder in it.
        name: The result's name.
        replace: Whether a result that is there may be replaced.
    """
    if is_filed(results, family, name) and not replace:
        raise Refusal(f"{results / family / name} is filed already and is not overwritten: say --replace")


def begin_filing(folder: Path, *others: Path) -> None:
    """Make the folders; the first has no result until all of it is there. Raise Refusal if that cannot be."""
    try:
        for place in (folder, *others):
            place.mkdir(parents=True, exist_ok=True)
        (folder / EVALUATION).unlink(missing_ok=True)
    except OSError as error:
        raise Refusal(f"cannot write to {folder}: {error.strerror or error}") from None


def write_result(folder: Path, result: PolicyResult | ImageResult) -> None:
    """Write ``evaluation.json``."""
    write_atomically(folder / EVALUATION, (json.dumps(asdict(result), indent=2) + "\n").encode())


def read_result(folder: Path, kind: type[Result]) -> Result:
    """Read ``evaluation.json``; raise Refusal naming the file and what is wrong with it."""
    path = folder / EVALUATION
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes())
    except OSError as error:
        raise Refusal(f"cannot read {path}: {error.strerror or error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise Refusal(f"{path} is not a filed evaluation: {where}{': ' if where else ''}{first['msg']}") from None


def read_results(results: Path, family: str, names: Iterable[str], kind: type[Result]) -> dict[str, Result]:
    """Read all results of a family that are filed, by name.

    Args:
        results: The folder of the results.
        family: The family's folder in it.
        names: The results' names; those that are not filed are left out.
        kind: The dataclass of a result.
    """
    return {name: read_result(results / family / name, kind) for name in names if is_filed(results, family, name)}


def read_files(folder: Path, names: Sequence[str]) -> dict[str, bytes]:
    """Return what is in each of the files; raise Refusal naming the file that cannot be read."""
    try:
        return {name: (folder / name).read_bytes() for name in names}
    except OSError as error:
        raise Refusal(f"cannot read {error.filename}: {error.strerror or error}") from None


def device_cost(adaptable: Adaptable, model: Cost, measured: int) -> DeviceCost:
    """Return the cost of an inner step by the model, beside the bytes that were ``measured`` at its peak."""
    return DeviceCost(ever_adapted(adaptable), model.peak_adaptation_bytes, model.adaptation_macs, measured)
