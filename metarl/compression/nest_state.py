"""What the training of nested subnets carries from one epoch to the next, and its file."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from metarl.compression.nested_masks import Counts
from metarl.core.errors import Refusal
from metarl.policies.files.tensor_file import FileKind, read_tensors, write_tensors
from metarl.policies.networks.network import Parameters

STATE = "state.safetensors"
KIND = FileKind(noun="state of a nesting", format="metarl-nesting", version=2, oldest=2)


@dataclass(frozen=True)
class Epoch:
    """What an epoch of training all subnets led to."""

    number: int  # from 1
    scores: tuple[float, ...]  # of the subnets after adaptation: mean returns, or accuracies
    better: bool  # than all before it


@dataclass(frozen=True)
class NestState:
    """The state after an epoch; its random numbers follow from the number of epochs."""

    parameters: Parameters  # of the dense network
    moments: Parameters  # Adam's
    counts: Counts
    best: Parameters  # those of the epoch with the largest mean score
    best_counts: Counts
    log: tuple[Epoch, ...]

    @property
    def best_sum(self) -> float:
        """The largest sum of the subnets' scores."""
        return max((sum(each.scores) for each in self.log), default=-math.inf)


def write_state(path: Path, state: NestState) -> None:
    """Write a state in one stroke."""
    parts = {"now": state.parameters, "moments": state.moments, "best": state.best}
    tensors = {f"{part}:{name}": tensor for part, each in parts.items() for name, tensor in each.items()}
    content = {
        "counts": state.counts,
        "best_counts": state.best_counts,
        "log": [asdict(each) for each in state.log],
    }
    write_tensors(path, KIND, json.dumps(content, sort_keys=True), tensors)


def read_state(path: Path) -> NestState:
    """Return the state of a file; raise Refusal if it is damaged."""
    text, tensors = read_tensors(path, KIND)
    try:
        content = json.loads(text)
        counts, best_counts = (
            {name: tuple(each) for name, each in content[key].items()} for key in ("counts", "best_counts")
        )
        log = tuple(Epoch(each["number"], tuple(each["scores"]), each["better"]) for each in content["log"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refusal(f"{path} is no state of a nesting: {error!r}") from None

    def part(prefix: str) -> Parameters:
        begin = f"{prefix}:"
        return {name.removeprefix(begin): each for name, each in tensors.items() if name.startswith(begin)}

    return NestState(part("now"), part("moments"), counts, part("best"), best_counts, log)
