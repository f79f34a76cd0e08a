"""How meta attention's scores are spread: what tells a choice per task from a fixed mask, and a peak from a choice."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from metarl.inner_loop import Scores
from metarl.kept_channels import SIDES, TASKS, attended_layers
from metarl.policies.methods import Method
from metarl.rl.trpo import LineSearch

STEP = ("attention_kl", "attention_loss", "attention_accepted")
MODULES = dict(zip(SIDES, ("forward", "backward"), strict=True))


def attention_columns(method: Method, layer_names: tuple[str, ...], inner_steps: int) -> list[str]:
    """Return the names in a log: ``largest_score_SIDE_LAYER_K`` and ``between_tasks_SIDE_LAYER_K``, with K from 1.

    Behind them stand the KL divergence and the loss of attention's outer step alone, and whether it was taken.
    """
    spread = [
        f"{what}_{side}_{layer}_{number}"
        for what in ("largest_score", "between_tasks")
        for side, layers in zip(SIDES, attended_layers(method, layer_names), strict=True)
        for layer in layers
        for number in range(1, inner_steps + 1)
    ]
    beside = method.attention is not None or method.channel_step_sizes
    return [*spread, *(STEP if beside else ())]


def attention_row(scores: Sequence[Sequence[Scores]], alone: LineSearch | None = None) -> dict[str, float]:
    """Return the numbers by their names in a log.

    Args:
        scores: The scores [inner step][task] of a meta-batch's adaptation.
        alone: What the line search of attention's outer step found; None if there was none.

    Returns:
        The numbers.
    """
    row: dict[str, float] = {}
    if alone is not None:
        row |= dict(zip(STEP, (alone.measured.kl, alone.measured.loss, float(alone.accepted)), strict=True))
    for number, of_step in enumerate(scores, start=1):
        for layer in of_step[0]:
            for side, module in MODULES.items():
                if module not in of_step[0][layer]:
                    continue
                tasks = torch.stack([of_task[layer][module] for of_task in of_step[:TASKS]])
                row[f"largest_score_{side}_{layer}_{number}"] = float(tasks.amax(dim=-1).mean())
                row[f"between_tasks_{side}_{layer}_{number}"] = between_tasks(tasks)
    return row


def between_tasks(scores: Tensor) -> float:
    """Return which share of the variance of scores [task, episode, channel] lies between tasks; 0 if they do not vary.

    The variance between tasks is that of the tasks' mean scores, per channel; the rest lies between channels, and
    between episodes of a task.
    """
    variance = float(scores.double().var(correction=0))
    means = scores.double().mean(dim=1)
    return float(means.var(dim=0, correction=0).mean()) / variance if variance > 0 else 0.0
