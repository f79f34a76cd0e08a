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

from metarl.core.atomic import CannotWrite
from metarl.core.errors import Refusal
from metarl.policies.files.tensor_file import FileKind, NewerVersion, read_tensors, write_tensors
from metarl.policies.networks.network import Parameters
from metarl.runs.folder import CHECKPOINTS
from metarl.runs.state import TrainingState

KIND = FileKind(noun="checkpoint", format="metarl-checkpoint", version=2, oldest=2)
KEPT = 2
PARAMETERS, MOMENTS, BEST = "parameters/", "moments/", "best/"


class DamagedCheckpoint(Refusal):
    """A checkpoint that is not whole; an older one may be."""


@dataclass(frozen=True)
class Checkpoint:
    """A state, and the digest of the training that it belongs to; ``log_bytes`` are the lengths of the logs then."""

    digest: str
    state: TrainingState
    log_bytes: dict[str, int]


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint in one stroke and remove all but the last two; CannotWrite if that is not possible."""
    state = checkpoint.state
    content = {
        "digest": checkpoint.digest,
        "iteration": state.iteration,
        "best_score": state.best_score if math.isfinite(state.best_score) else None,
        "best_iteration": state.best_iteration,
        "recent_returns": state.recent_returns,
        "faults_in_a_row": state.faults_in_a_row,
        "skipped": state.skipped,
        "log_bytes": checkpoint.log_bytes,
    }
    tensors = {PARAMETERS + name: tensor for name, tensor in state.parameters.items()}
    tensors |= {MOMENTS + name: tensor for name, tensor in state.moments.items()}
    tensors |= {BEST + name: tensor for name, tensor in state.best_parameters.items()}
    checkpoints = folder / CHECKPOINTS
    try:
        checkpoints.mkdir(exist_ok=True)
        write_tensors(checkpoints / f"iteration-{state.iteration:08d}.safetensors", KIND, json.dumps(content), tensors)
        for old in checkpoint_files(folder)[KEPT:]:
            old.unlink()
    except OSError as error:
        raise CannotWrite(f"cannot write a checkpoint to {checkpoints}: {error.strerror or error}") from None


def checkpoint_files(folder: Path) -> list[Path]:
    """Return the run's checkpoints, newest first."""
    return sorted((folder / CHECKPOINTS).glob("iteration-*.safetensors"), reverse=True)


def newest_checkpoint(folder: Path, *digests: str) -> Checkpoint | None:
    """Return the newest checkpoint that is whole, None if the run has none; a damaged newer one is told by a warning.

    Refusal if all are damaged, or if the newest whole one has none of the ``digests`` or was written by a later metarl.
    """
    files = checkpoint_files(folder)
    damaged = []
    for path in files:
        try:
            checkpoint = read_checkpoint(path)
        except DamagedCheckpoint as error:
            damaged.append(str(error))
            continue
        if checkpoint.digest not in digests:
            raise Refusal(f"{path} was written with other settings than the run has now: config.json was altered")
        for sentence in damaged:
            warnings.warn(f"{sentence}; going on from {path.name}", stacklevel=2)
        return checkpoint
    if files:
        raise Refusal(f"no checkpoint of {folder} can be used: {'; '.join(damaged)}")
    return None


def read_checkpoint(path: Path) -> Checkpoint:
    """Return the content of a file; DamagedCheckpoint if it is not whole, Refusal if a later metarl wrote it."""
    try:
        content, tensors = read_tensors(path, KIND)
        return _parse(json.loads(content), tensors)
    except NewerVersion as error:
        raise Refusal(f"{path}: {error}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedCheckpoint(f"{path}: {error}") from None


def _parse(content: dict[str, Any], tensors: Parameters) -> Checkpoint:
    def group(prefix: str) -> Parameters:
        return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

    best_score = content["best_score"]
    state = TrainingState(
        iteration=int(content["iteration"]),
        parameters=group(PARAMETERS),
        moments=group(MOMENTS),
        best_parameters=group(BEST),
        best_score=-math.inf if best_score is None else float(best_score),
        best_iteration=int(content["best_iteration"]),
        recent_returns=tuple(float(value) for value in content["recent_returns"]),
        faults_in_a_row=int(content["faults_in_a_row"]),
        skipped=int(content["skipped"]),
    )
    return Checkpoint(
        str(content["digest"]), state, {str(name): int(length) for name, length in content["log_bytes"].items()}
    )
