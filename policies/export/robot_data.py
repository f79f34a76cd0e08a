"""What the export to C learns from simulated robots: episodes, channels that attention keeps, ranges."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metarl.core.errors import Refusal
from metarl.policies.controller import Controller, estimator_of
from metarl.policies.device.episodes import Episode
from metarl.policies.device.in_place import FloatArray
from metarl.policies.device.network import device_layers
from metarl.policies.device.scores import kept_channels
from metarl.policies.methods import get_method

Record = Callable[[Sequence[Controller]], list[list[Episode]]]  # the episodes of each task, by its controller

TASKS = 4
ROOM = 1.5  # times the channels that attention has been seen to keep
MARGIN = 0.1  # of an observation's range, on either side


@dataclass(frozen=True)
class RobotData:
    """What simulated robots recorded.

    Attributes:
        episodes: The episodes of one task before adapting.
        channels: The most input channels that attention kept of each layer, by layer, in any inner step of any task.
        observations: The lowest and the highest observation [observation] of all tasks.
    """

    episodes: list[Episode]
    channels: dict[str, int]
    observations: tuple[FloatArray, FloatArray]


def robot_data(controller: Controller, record: Record, tasks: int = TASKS) -> RobotData:
    """Adapt to a few tasks, each inner step on fresh episodes, and return what was recorded.

    Args:
        controller: The controller.
        record: Records the episodes of an inner step of each task, given its controllers.
        tasks: The number of tasks.
    """
    metadata, method = controller.metadata, get_method(controller.metadata.method)
    estimator = estimator_of(metadata)
    adapted, channels = [controller] * tasks, dict[str, int]()
    first: list[Episode] = []
    lows, highs = [], []
    for step in range(metadata.inner_steps):
        recorded = record(adapted)
        first = first or recorded[0]
        for each, episodes in zip(adapted, recorded, strict=True):
            layers = device_layers(each.network, each.parameters, method, step)
            kept = kept_channels(each.network, each.parameters, layers, episodes, estimator)
            channels |= {name: max(count, channels.get(name, 0)) for name, count in kept.items()}
            lows += [np.min(np.asarray(episode["observations"]), axis=0) for episode in episodes]
            highs += [np.max(np.asarray(episode["observations"]), axis=0) for episode in episodes]
        adapted = [each.adapt(episodes, step) for each, episodes in zip(adapted, recorded, strict=True)]
    low, high = np.min(lows, axis=0), np.max(highs, axis=0)
    margin = np.float32(MARGIN) * (high - low)
    return RobotData(first, channels, ((low - margin).astype(np.float32), (high + margin).astype(np.float32)))


def with_room(channels: dict[str, int], controller: Controller) -> dict[str, int]:
    """Return room for more channels than have been seen, and for no more than there are."""
    inputs = {layer.name: layer.inputs for layer in controller.network.layers}
    return {name: min(math.ceil(ROOM * count), inputs[name]) for name, count in channels.items()}


def read_ranges(path: Path, controller: Controller) -> tuple[FloatArray, FloatArray]:
    """Return the lowest and the highest observation from a JSON file with the lists ``low`` and ``high``."""
    try:
        content = json.loads(path.read_text())
        low, high = (np.array(content[name], np.float32) for name in ("low", "high"))
    except OSError as error:
        raise Refusal(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, TypeError, KeyError):
        raise Refusal(f'{path} must hold the ranges as JSON: {{"low": [...], "high": [...]}}') from None
    return check_ranges(low, high, controller.network.observation_size)


def check_ranges(low: FloatArray, high: FloatArray, size: int) -> tuple[FloatArray, FloatArray]:
    """Return ranges of observations; raise Refusal if they are not ``size`` finite ones."""
    if low.shape != (size,) or high.shape != (size,):
        raise Refusal(
            f"the ranges must have {size} numbers each, for {size} observations, got {low.size} and {high.size}"
        )
    if not (np.isfinite(low).all() and np.isfinite(high).all() and (low <= high).all()):
        raise Refusal("the ranges must be finite, and low nowhere above high")
    return low, high
