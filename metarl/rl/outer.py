"""The outer loop's step, from the outcome of the inner loop to the new meta-parameters."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from statistics import fmean

import torch
from torch import Tensor

from metarl.core.clock import Clock
from metarl.core.numerics import require_finite
from metarl.policies.attention import PREFIX
from metarl.policies.methods import CHANNEL_STEP_SIZES, Method, get_method, trained_names
from metarl.policies.networks.layers import Layer
from metarl.policies.networks.mlp import PolicyNetwork
from metarl.policies.networks.network import Parameters
from metarl.reptile import moved_towards
from metarl.rl.adaptation import Adaptation
from metarl.rl.attention_step import attention_step
from metarl.rl.batch import Batch, pooled
from metarl.rl.objective import MetaGradient, MetaObjective, TaskData, flatten
from metarl.rl.settings import TrainSettings
from metarl.rl.trpo import LineSearch, Measured, line_search, natural_step


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
    adaptation: Adaptation,
    settings: TrainSettings,
    network: PolicyNetwork,
    executor: Executor,
    clock: Clock,
    movable: Parameters | None = None,
) -> OuterStep:
    """Take the step of the method's outer loop: the one place where methods differ in it.

    Args:
        parameters: The meta-parameters.
        moments: Adam's state.
        adaptation: The outcome of the inner loop from these parameters.
        settings: The settings of the training.
        network: The policy network.
        executor: Threads, each with a task of its own.
        clock: Takes the time of each phase.
        movable: By name, 1 where a number may move and 0 where it stays; a parameter that is left out may move.

    Returns:
        The new parameters and moments. NumericalFault if a number is not finite.
    """
    movable = movable or {}
    if get_method(settings.method).outer == "towards":
        step = towards_adapted(parameters, moments, adaptation, settings, network)
    else:
        step = along_meta_gradient(parameters, moments, adaptation, settings, network, executor, clock, movable)
    return replace(step, parameters=step.parameters | stayed(parameters, step.parameters, movable))


def stayed(old: Parameters, new: Parameters, movable: Parameters) -> Parameters:
    """Return the parameters that ``movable`` names, with the old numbers where it is 0."""
    return {name: torch.where(mask != 0, new[name], old[name]) for name, mask in movable.items()}


def towards_adapted(
    parameters: Parameters, moments: Parameters, adaptation: Adaptation, settings: TrainSettings, network: PolicyNetwork
) -> OuterStep:
    """Move towards the mean of the adapted parameters (Reptile).

    Args:
        parameters: The meta-parameters.
        moments: Adam's state, which stays.
        adaptation: The outcome of the inner loop from these parameters.
        settings: The settings of the training.
        network: The policy network.

    Returns:
        The step. NumericalFault if an adapted parameter is not finite.
    """
    names = trained_names(get_method(settings.method), parameters)
    new = moved_towards(parameters, adaptation.parameters[-1], names, settings.outer_lr)
    require_finite("the adapted parameters are", flatten([new[name] for name in names]))
    kl = fmean(divergence(network, parameters, new, batch) for batch in adaptation.batches[0])
    return OuterStep(new, moments, kl, accepted=True, search=None)


@torch.no_grad()
def divergence(network: PolicyNetwork, old: Parameters, new: Parameters, batch: Batch) -> float:
    """Return the mean KL(old || new) of a policy with other parameters, on a batch's observations."""
    before, after = (network.distribution(each, network(each, batch.inputs)[0]) for each in (old, new))
    return float(before.kl_divergence(after, batch.valid))


def along_meta_gradient(
    parameters: Parameters,
    moments: Parameters,
    adaptation: Adaptation,
    settings: TrainSettings,
    network: PolicyNetwork,
    executor: Executor,
    clock: Clock,
    movable: Parameters,
) -> OuterStep:
    """Take one step on the adapted policies' surrogate loss: policy and step sizes by TRPO, attention by Adam.

    Adam's step has a KL limit of its own.

    Args:
        parameters: The meta-parameters.
        moments: Adam's state.
        adaptation: The outcome of the inner loop from these parameters.
        settings: The settings of the training.
        network: The policy network.
        executor: Threads, each with a task of its own.
        clock: Takes the time of each phase.
        movable: By name, 1 where a number may move and 0 where it stays.

    Returns:
        The step. NumericalFault if a number is not finite.
    """
    method = get_method(settings.method)
    trusted, attention = outer_names(method, parameters)
    objective = MetaObjective(
        network=network,
        method=method,
        trained=trusted,
        first_order=settings.first_order,
        tasks=task_data(adaptation, method),
        executor=executor,
        penalty=lasso_penalty(network.layers, settings),
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


def task_data(adaptation: Adaptation, method: Method) -> list[TaskData]:
    """Return the batches by task: all but the last are support batches, the last one is the query batch.

    A method without an inner loop has one policy in all of them, so the outer step takes all as the query batch.
    """
    by_task = zip(*adaptation.batches, strict=True)
    if not method.adapts:
        return [TaskData((), pooled(batches)) for batches in by_task]
    return [TaskData(batches[:-1], batches[-1]) for batches in by_task]


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
        return objective.measure(objective.displaced(parameters, candidate), gradient.adapted)

    with clock.phase("line search"):
        search = line_search(
            measure, step, gradient.loss, settings.max_kl, settings.line_search_steps, settings.line_search_ratio
        )
    return gradient, search
