"""Adapt a controller in another way than it was trained for: other horizons, episodes and numbers of inner steps."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from metarl.core.errors import Refusal
from metarl.policies.controller import Controller
from metarl.policies.gate import GATE
from metarl.policies.methods import CHANNEL_STEP_SIZES, STEP_SIZES


def varied(
    controller: Controller, horizon: int | None = None, episodes: int | None = None, inner_steps: int | None = None
) -> Controller:
    """Return the controller with other settings of its adaptation; None leaves a setting as it was trained.

    Args:
        controller: The controller.
        horizon: Time steps of an episode.
        episodes: Episodes of an inner step.
        inner_steps: Inner steps. Fewer are the first of the trained ones; steps beyond them repeat the last, with its
            step sizes and gate.

    Returns:
        A controller with the same policy.

    Raises:
        Refusal: A number is below 1.
    """
    for name, value in (("horizon", horizon), ("episodes", episodes), ("inner_steps", inner_steps)):
        if value is not None and value < 1:
            raise Refusal(f"{name} must be at least 1, got {value}")
    metadata = replace(
        controller.metadata,
        horizon=horizon or controller.metadata.horizon,
        episodes_per_step=episodes or controller.metadata.episodes_per_step,
        inner_steps=inner_steps or controller.metadata.inner_steps,
    )
    parameters = {
        name: _rows(tensor, metadata.inner_steps) if _is_per_step(name) else tensor
        for name, tensor in controller.parameters.items()
    }
    return replace(controller, parameters=parameters, metadata=metadata)


def _is_per_step(name: str) -> bool:
    return name in (STEP_SIZES, GATE) or name.startswith(CHANNEL_STEP_SIZES)


def _rows(tensor: Tensor, count: int) -> Tensor:
    """Return the first rows [inner step, ...] of a tensor, the last one as often as it takes."""
    return tensor[torch.arange(count).clamp(max=len(tensor) - 1)]
