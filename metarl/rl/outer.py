"""The outer loop's step, from the outcome of the inner loop to the new meta-parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

import torch
from torch import Tensor

from metarl.core.clock import Clock
from metarl.core.numerics import require_finite
from metarl.policies.attention import PREFIX
from metarl.policies.methods import CHANNEL_STEP_SIZES, Method, get_method, trained_names
from metarl.policies.networks.layers import Layer
from metarl.policies.networks.network import Parameters
from metarl.reptile import moved_towards
from metarl.rl.attention_step import attention_step
from metarl.rl.objective import MetaGradient, MetaObjective
from metarl.rl.settings import TrainSettings
from metarl.rl.trpo import LineSearch, Measured, line_search, natural_step
from metarl.rl.vectors import flatten
from metarl.rl.workers import Workers


@dataclass(frozen=True)
class LossSearch:
    """The surrogate loss before and after a step that was searched for, and the lengths that were tried."""

    before: float
    after: float
    trials: int


@dataclass(frozen=True)
class OuterStep:
    """Where an outer step leads; ``kl`` is the mean KL divergence that it causes.

    Of the adapted policies where the loss after adaptation was searched, otherwise of the policy before adaptation.
    """

    parameters: Parameters
    moments: Parameters
    kl: float
    accepted: bool
    search: LossSearch | None
    attention: LineSearch | None = None  # of the step of attention alone
    gradient: Parameters = field(default_factory=dict)  # the meta-gradient by name; empty where a method takes none


def outer_step(
    parameters: Parameters,
    moments: Parameters,
    settings: TrainSettings,
    workers: Workers,
    clock: Clock,
    movable: Parameters | None = None,
) -> OuterStep:
    """Take the step of the method's outer loop: the one place where methods differ in it.

    Args:
        parameters: The meta-parameters.
        moments: Adam's state.
        settings: The settings of the training.
        workers: What has adapted to the tasks from these parameters.
        clock: Takes the time of each phase.
        movable: By name, 1 where a number may move and 0 where it stays; a parameter that is left out may move.

    Returns:
        The new parameters and moments. NumericalFault if a number is not finite.
    """
    movable = movable or {}
    if get_method(settings.method).outer == "towards":
        step = towards_adapted(parameters, moments, settings, workers)
    else:
        step = along_meta_gradient(parameters, moments, settings, workers, clock, movable)
    return replace(step, parameters=step.parameters | stayed(parameters, step.parameters, movable))


def stayed(old: Parameters, new: Parameters, movable: Parameters) -> Parameters:
    """Return the parameters that ``movable`` names, with the old numbers where it is 0."""
    return {name: torch.where(mask != 0, new[name], old[name]) for name, mask in movable.items()}


def towards_adapted(
    parameters: Parameters, moments: Parameters, settings: TrainSettings, workers: Workers
) -> OuterStep:
    """Move towards the mean of the adapted parameters (Reptile).

    Args:
        parameters: The meta-parameters.
        moments: Adam's state, which stays.
        settings: The settings of the training.
        workers: What has adapted to the tasks from these parameters.

    Returns:
        The step. NumericalFault if an adapted parameter is not finite.
    """
    names = trained_names(get_method(settings.method), parameters)
    new = moved_towards(parameters, workers.adapted(names), names, settings.outer_lr)
    require_finite("the adapted parameters are", flatten([new[name] for name in names]))
    kl = fmean(workers.divergences(parameters, new))
    return OuterStep(new, moments, kl, accepted=True, search=None)


def along_meta_gradient(
    parameters: Parameters,
    moments: Parameters,
    settings: TrainSettings,
    workers: Workers,
    clock: Clock,
    movable: Parameters,
) -> OuterStep:
    """Take one step on the adapted policies' surrogate loss: policy and step sizes by TRPO, attention by Adam.

    Adam's step has a KL limit of its own.

    Args:
        parameters: The meta-parameters.
        moments: Adam's state.
        settings: The settings of the training.
        workers: What has adapted to the tasks from these parameters.
        clock: Takes the time of each phase.
        movable: By name, 1 where a number may move and 0 where it stays.

    Returns:
        The step. NumericalFault if a number is not finite.
    """
    method = get_method(settings.method)
    trusted, attention = outer_names(method, parameters)
    objective = MetaObjective(
        trained=trusted,
        tasks=settings.meta_batch_size,
        terms=workers.terms,
        penalty=lasso_penalty(workers.network.layers, settings),
        movable=movable,
    )
    gradient, search = trust_region_step(objective, parameters, attention, settings, clock)
    losses = LossSearch(gradient.loss, search.measured.loss, search.trials)
    slopes = objective.named(parameters, gradient.trained) | gradient.others
    step = OuterStep(parameters, moments, search.measured.kl, search.accepted, losses, gradient=slopes)
    if not search.accepted:
        return step
    new = objective.displaced(parameters, search.step)
    if not attention:
        return replace(step, parameters=new)
    with clock.phase("line search"):
        moved, moments, alone = attention_step(objective, parameters, gradient, moments, settings)
    return replace(step, parameters=new | moved, moments=moments, attention=alone)


def outer_names(method: Method, parameters: Parameters) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of what the trust region moves, policy and step sizes, and of what Adam moves, attention.

    Attention has more parameters than the policy, and the Fisher matrix of a few tasks says nothing of most directions
    among them: a trust-region step along these breaks the limit on the other tasks.
    """
    attention = {name for name in parameters if name.startswith((PREFIX, CHANNEL_STEP_SIZES))}
    trained = trained_names(method, parameters)
    return tuple(name for name in trained if name not in attention), tuple(sorted(attention))


def lasso_penalty(layers: Sequence[Layer], settings: TrainSettings) -> Tensor | None:
    """Return lambda * m(x_{l-1}) [inner step, layer], with the memory m of a layer's input divided by the largest one.

    None for a method whose step sizes are not sparse.
    """
    if get_method(settings.method).step_sizes != "sparse":
        return None
    memory = torch.tensor([float(layer.input_words) for layer in layers])
    return (settings.lasso * memory / memory.max()).repeat(settings.inner_steps, 1)


def trust_region_step(
    objective: MetaObjective,
    parameters: Parameters,
    others: tuple[str, ...],
    settings: TrainSettings,
    clock: Clock,
) -> tuple[MetaGradient, LineSearch]:
    """Find the TRPO step on the outer objective.

    Args:
        objective: The outer objective.
        parameters: The meta-parameters.
        others: Names of parameters whose gradient is wanted, too, and which the step does not move.
        settings: The settings of the training.
        clock: Takes the time of each phase.

    Returns:
        The meta-gradient, and the step to subtract. NumericalFault if either is not finite.
    """
    with clock.phase("meta-gradient"):
        gradient = objective.gradient(parameters, others)
        require_finite("the meta-gradient is", flatten([gradient.trained, *gradient.others.values()]))
    with clock.phase("conjugate gradient"):
        product = objective.fisher_product(parameters, settings.fisher_fraction, settings.damping)
        free = objective.free(parameters, gradient.trained)
        target = gradient.trained * free
        step = natural_step(lambda vector: product(vector) * free, target, settings.max_kl, settings.cg_iterations)
        require_finite("the trust-region step is", step)

    def measure(candidate: Tensor) -> Measured:
        return objective.measure(objective.displaced(parameters, candidate))

    with clock.phase("line search"):
        search = line_search(
            measure, step, gradient.loss, settings.max_kl, settings.line_search_steps, settings.line_search_ratio
        )
    return gradient, search
