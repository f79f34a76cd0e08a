"""Checkpoints of a meta-training: everything it takes to go on, bit for bit.

Random numbers need no place in it: every iteration derives its generators from the run's seed and its own number.
"""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metarl.policies.files.tensor_file import FileKind, NewerVersion, read_tensors, write_tensors
from metarl.runs.state import TrainingState

KIND = FileKind(noun="checkpoint", format="metarl-checkpoint", version=2, oldest=2)
FOLDER = "checkpoints"
KEPT = 2
PARAMETERS, MOMENTS, BEST = "parameters/", "moments/", "best/"
BEST_SCORE = "best_return"  # the name in the first files, which knew returns alone


@dataclass(frozen=True)
class Checkpoint:
    """A state and what it belongs to; ``log_bytes`` are the lengths of the run's logs when it was written."""

    family: str
    method: str
    state: TrainingState
    log_bytes: dict[str, int]


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Writes one atomically and removes all but the last two; ValueError if it cannot be written."""
    state = checkpoint.state
    content = {
        "family": checkpoint.family,
        "method": checkpoint.method,
        "iteration": state.iteration,
        BEST_SCORE: state.best_score if math.isfinite(state.best_score) else None,
        "best_iteration": state.best_iteration,
        "recent_returns": state.recent_returns,
        "faults_in_a_row": state.faults_in_a_row,
        "skipped": state.skipped,
        "log_bytes": checkpoint.log_bytes,
    }
    tensors = {PARAMETERS + name: tensor for name, tensor in state.parameters.items()}
    tensors |= {MOMENTS + name: tensor for name, tensor in state.moments.items()}
    tensors |= {BEST + name: tensor for name, tensor in state.best_parameters.items()}
    checkpoints = folder / FOLDER
    try:
        checkpoints.mkdir(exist_ok=True)
        write_tensors(checkpoints / f"iteration-{state.iteration:08d}.safetensors", KIND, json.dumps(content), tensors)
        for old in checkpoint_files(folder)[KEPT:]:
            old.unlink()
    except OSError as error:
        raise ValueError(f"cannot write a checkpoint to {checkpoints}: {error.strerror or error}") from None


def checkpoint_files(folder: Path) -> list[Path]:
    """The run's checkpoints, newest first."""
    return sorted((folder / FOLDER).glob("iteration-*.safetensors"), reverse=True)


def newest_checkpoint(folder: Path, family: str, method: str) -> Checkpoint | None:
    """The newest checkpoint that is whole; a damaged newer one is named in a warning.

    None if the run has none yet. ValueError if all are damaged, or if the one found belongs to another family or
    method, or to a newer version of the format.
    """
    files = checkpoint_files(folder)
    damaged = []
    for path in files:
        try:
            checkpoint = read_checkpoint(path)
        except DamagedCheckpoint as error:
            damaged.append(str(error))
            continue
        if (checkpoint.family, checkpoint.method) != (family, method):
            raise ValueError(
                f"{path} is a checkpoint of {checkpoint.method} on {checkpoint.family}, "
                f"but this run is {method} on {family}"
            )
        for sentence in damaged:
            warnings.warn(f"{sentence}; going on from {path.name}", stacklevel=2)
        return checkpoint
    if files:
        raise ValueError(f"no checkpoint of {folder} can be used: {'; '.join(damaged)}")
    return None


class DamagedCheckpoint(ValueError):
    """A checkpoint that an older one may stand in for."""


def read_checkpoint(path: Path) -> Checkpoint:
    """DamagedCheckpoint if the file is not whole; ValueError if it is of a newer version of the format."""
    try:
        content, tensors = read_tensors(path, KIND)
        return _parse(json.loads(content), tensors)
    except NewerVersion as error:
        raise ValueError(f"{path}: {error}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedCheckpoint(f"{path}: {error}") from None


def _parse(content: dict[str, Any], tensors: dict[str, Any]) -> Checkpoint:
    def group(prefix: str) -> dict[str, Any]:
        return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

    best_score = content[BEST_SCORE]
    state = TrainingState(
        iteration=int(content["iteration"]),
        parameters=group(PARAMETERS),
        moments=group(MOMENTS),
        best_parameters=group(BEST),
        best_score=-math.inf if best_score is None else float(best_score),
        best_iteration=int(content["best_iteration"]),
        recent_returns=tuple(float(value) for value in content.get("recent_returns", ())),
        faults_in_a_row=int(content["faults_in_a_row"]),
        skipped=int(content["skipped"]),
    )
    log_bytes = {str(name): int(length) for name, length in content["log_bytes"].items()}
    return Checkpoint(str(content["family"]), str(content["method"]), state, log_bytes)
