"""The outer step of what the trust region leaves to Adam, attention and channels' step sizes, under a limit of its own.

The length of a step of Adam knows nothing of the policy: it can change adapted policies as much as a whole trust-region
step, on top of it. So it is shortened until, taken alone, it improves the loss within a share of the KL limit.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from metarl.adam import adam_step
from metarl.policies.networks.network import Parameters
from metarl.rl.objective import MetaGradient, MetaObjective
from metarl.rl.settings import TrainSettings
from metarl.rl.trpo import LineSearch, Measured, line_search
from metarl.rl.vectors import flatten


def attention_step(
    objective: MetaObjective,
    parameters: Parameters,
    gradient: MetaGradient,
    moments: Parameters,
    settings: TrainSettings,
) -> tuple[Parameters, Parameters, LineSearch]:
    """Take a step of Adam on the parameters that the trust region leaves out, as far as it improves the loss.

    Args:
        objective: The outer objective.
        parameters: The meta-parameters before the iteration.
        gradient: The meta-gradient, whose ``others`` are the gradients of what moves.
        moments: Adam's state.
        settings: The settings of the training.

    Returns:
        The parameters that move, at their new place; Adam's new state; and what the line search found.
    """
    names = tuple(gradient.others)
    wanted, moments = adam_step(parameters, gradient.others, moments, settings.attention_lr)
    # Without the penalty on step sizes, which stay where they are.
    alone = replace(objective, trained=names, penalty=None)

    def measure(candidate: Tensor) -> Measured:
        return alone.measure(alone.displaced(parameters, candidate))

    step = flatten([parameters[name] - wanted[name] for name in names])
    search = line_search(
        measure,
        step * alone.free(parameters, step),
        gradient.loss - objective.penalty_at(parameters),
        settings.attention_kl * settings.max_kl,
        settings.line_search_steps,
        settings.line_search_ratio,
    )
    moved = alone.displaced(parameters, search.step)
    return {name: moved[name] for name in names}, moments, search
