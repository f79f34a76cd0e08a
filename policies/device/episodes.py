"""Episodes as a robot records them, checked before anything is learned from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from metarl.core.errors import Refusal
from metarl.policies.device.adaptation import advantages_program
from metarl.policies.device.in_place import FloatArray
from metarl.policies.device.meter import Meter
from metarl.policies.device.network import Samples
from metarl.policies.device.run import Run
from metarl.policies.device.runner import Runner
from metarl.policies.device.workload import Estimator, Workload
from metarl.policies.networks.mlp import PolicyNetwork


class Episode(TypedDict):
    """One episode of any length: what the policy observed, did and earned at every time step.

    ``actions`` are the policy's own, numbers of choices or vectors before the action scale and the clipping to the
    action bounds, as ``metarl.policies.recorder.Recorder`` keeps them: what the robot executed does not tell how likely
    it was.
    """

    observations: ArrayLike  # [time, observation]
    actions: ArrayLike  # [time, action]
    rewards: ArrayLike  # [time]


def checked_episodes(episodes: Sequence[Episode], network: PolicyNetwork) -> list[dict[str, Tensor]]:
    """Return the episodes as float32 tensors; raise Refusal if one lacks a part or has a wrong shape or number."""
    if not isinstance(episodes, Sequence) or isinstance(episodes, str | bytes):
        raise Refusal(f"the episodes must be a list with one entry per episode, got {_kind(episodes)}")
    if not episodes:
        raise Refusal("there is no episode to adapt to: record at least one")
    widths = {"observations": network.observation_size, "actions": network.action_size, "rewards": None}
    checked = []
    for number, episode in enumerate(episodes, start=1):
        checked.append(_checked(f"episode {number}", episode, widths))
        if network.choices is not None:
            _check_choices(f"episode {number}", checked[-1]["actions"], network.choices)
    return checked


def columns(episodes: Sequence[Mapping[str, Tensor]]) -> dict[str, list[FloatArray]]:
    """Return checked episodes as a device stores them: the arrays of all episodes by column."""
    return {part: [episode[part].numpy() for episode in episodes] for part in ("observations", "actions", "rewards")}


def advantages_per_episode(episodes: Sequence[Mapping[str, Tensor]], estimator: Estimator) -> list[Samples]:
    """Return the samples of checked episodes, with the advantages on a linear baseline that is fitted to them.

    Raise ValueError if they are not finite, because rewards or observations are too large to compute with.
    """
    storage = columns(episodes)
    with np.errstate(over="ignore", invalid="ignore"):  # the runner says it in a sentence
        advantages = device_advantages(storage, estimator, Meter())
    return [Samples(*parts) for parts in zip(storage["observations"], storage["actions"], advantages, strict=True)]


def device_advantages(
    storage: Mapping[str, Sequence[FloatArray]], estimator: Estimator, meter: Meter
) -> list[FloatArray]:
    """Return the normalized advantages [time] of each of one task's episodes.

    Args:
        storage: The observations [time, observation] and rewards [time] of the episodes, by column.
        estimator: How the advantages are computed from the rewards.
        meter: Measures the memory that it takes.

    Raises:
        ValueError: If they are not finite, because rewards or observations are too large to compute with.
    """
    lengths = [len(rewards) for rewards in storage["rewards"]]
    work = Workload(max(lengths), max(lengths))
    program = advantages_program(storage["observations"][0].shape[1], work, estimator)
    runner = Runner(lambda kept: program, {}, Run(storage, sum(lengths)), meter)
    *baseline, last = program.phases
    for phase in baseline:
        runner.run_phase(phase)
    advantages = []
    for episode, length in enumerate(lengths):
        runner.run_stages(last, episode)
        advantages.append(runner.view("advantages")[:length].copy())
    return advantages


def _checked(name: str, episode: Any, widths: Mapping[str, int | None]) -> dict[str, Tensor]:
    if not isinstance(episode, Mapping):
        raise Refusal(f"{name} must be a mapping with {', '.join(widths)}, got {_kind(episode)}")
    for part in widths:
        if part not in episode:
            raise Refusal(f"{name} lacks its {part}: it must hold {', '.join(widths)}")
    arrays = {part: _array(f"{name}: the {part}", episode[part], width) for part, width in widths.items()}
    lengths = {part: len(array) for part, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{length} {part}" for part, length in lengths.items())
        raise Refusal(f"{name} must have as many of each per time step, got {counts}")
    if not lengths["rewards"]:
        raise Refusal(f"{name} is empty: it must have at least one time step")
    return {part: torch.from_numpy(array) for part, array in arrays.items()}


def _check_choices(name: str, actions: Tensor, choices: int) -> None:
    """Raise Refusal unless the actions are numbers of choices."""
    wrong = (actions < 0) | (actions >= choices) | (actions != actions.round())
    if wrong.any():
        raise Refusal(
            f"{name}: the actions must be whole numbers from 0 to {choices - 1}, got {float(actions[wrong][0]):g}"
        )


def _array(name: str, value: Any, width: int | None) -> FloatArray:
    shape = "[time]" if width is None else f"[time, {width}]"
    try:
        # A number too large for float32 becomes infinite, which the check below names.
        with np.errstate(over="ignore"):
            array = np.require(value, np.float32, ["C", "W", "E"])  # no copy if it is all that already
    except (TypeError, ValueError):
        raise Refusal(f"{name} must be an array of numbers {shape}") from None
    if array.ndim != (1 if width is None else 2) or (width is not None and array.shape[1] != width):
        raise Refusal(f"{name} must have the shape {shape}, got {list(array.shape)}")
    if not np.isfinite(array).all():
        raise Refusal(f"{name} hold a NaN or an infinite number")
    return array


def _kind(value: object) -> str:
    return type(value).__name__
