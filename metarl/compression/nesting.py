"""Train the nested sparse subnets of a meta-trained controller together (DRESS, ch. 3 of Qu's thesis).

The dense controller is the first stage. In the second, each iteration samples the subnets' masks from the magnitudes of
the one set of weights, and takes one step along the weighted sum of their gradients. In the third, each subnet's own
biases, norms and deviations are trained while all weights stay.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from metarl.adam import adam_step, initial_moments
from metarl.compression.nest_objectives import Objective, objective_for
from metarl.compression.nest_settings import NestSettings
from metarl.compression.nest_state import STATE, Epoch, NestState, read_state, write_state
from metarl.compression.nested_masks import Counts, allocated, loss_weights
from metarl.compression.tasks import Tasks, family_of, images_of
from metarl.core.errors import Refusal
from metarl.core.numerics import require_finite
from metarl.policies.classifier import Classifier
from metarl.policies.compression.bases import refuse_bases
from metarl.policies.compression.masks import MASK, masks_of, weight_names
from metarl.policies.compression.nested import encoded, own_names, row_size, sampled_masks, shared_names
from metarl.policies.controller import Controller
from metarl.policies.files.checks import check_adaptable
from metarl.policies.methods import get_method
from metarl.policies.nested import Nested
from metarl.policies.networks.network import Network, Parameters
from metarl.runs.folder import CONTROLLER
from metarl.runs.resumable import opened

CONFIG = "nesting.json"


def check_nestable(dense: Controller | Classifier, settings: NestSettings) -> None:
    """Raise Refusal if a controller cannot be nested so."""
    if isinstance(dense, Controller) and dense.metadata.adapted_to is not None:
        raise Refusal("the controller is adapted to a task: nest the meta-trained one that it came from")
    refuse_bases(dense.parameters, "nesting")
    if masks_of(dense.parameters):
        raise Refusal("the controller is pruned already: nest the dense one that it came from")
    method = get_method(dense.metadata.method)
    if not method.adapts:
        raise Refusal(f"{method.name} does not adapt, and nested subnets are about keeping adaptation")
    check_adaptable(dense.parameters, dense.network, method, on_device=False)
    row_sizes(dense.network, settings)


def row_sizes(network: Network, settings: NestSettings) -> dict[str, int]:
    """Return how many numbers are a row, by weight; raise Refusal if rows do not divide a weight."""
    return {name: row_size(network.parameter_shapes[name], settings.row, name) for name in weight_names(network)}


def nest(
    dense: Controller | Classifier,
    tasks: Tasks,
    settings: NestSettings,
    threads: int,
    out: Path | None = None,
    on_epoch: Callable[[Epoch], None] = lambda done: None,
) -> Nested:
    """Train nested subnets of a controller.

    Args:
        dense: The meta-trained controller.
        tasks: The task family of a policy, as it sees it, or the images of an image network.
        settings: The subnets, and how they are trained.
        threads: Threads of the simulator and of the training.
        out: A folder for the state after each epoch and the nested controller, new or of the same nesting, which then
            goes on after its last whole epoch. None to keep nothing on disk.
        on_epoch: Is told what each epoch led to, those of before an interruption included.

    Returns:
        The nested controller. Refusal if the controller or the folder cannot be used; NumericalFault if a number is not
        finite.
    """
    check_nestable(dense, settings)
    identity = images_of(tasks).identity if isinstance(dense, Classifier) else {"family": family_of(tasks).name}
    state = initial_state(dense, settings)
    if out is not None:
        opened(out, CONFIG, asdict(settings) | {"parent": dense.metadata.training} | identity, "nesting")
        if (out / STATE).is_file():
            state = read_state(out / STATE)
    for done in state.log:
        on_epoch(done)
    with objective_for(dense, tasks, settings, threads) as objective:
        while len(state.log) < settings.epochs:
            state = epoch(state, dense.network, settings, objective)
            if out is not None:
                write_state(out / STATE, state)
            on_epoch(state.log[-1])
        own = tuned(state, dense.network, settings, objective)
    nested = as_nested(dense, settings, state, own)
    if out is not None:
        nested.save(out / CONTROLLER, overwrite=True)
    return nested


def initial_state(dense: Controller | Classifier, settings: NestSettings) -> NestState:
    """Return the state before the first epoch: the dense weights, and the shares that their magnitudes say."""
    parameters = {name: tensor.detach().clone() for name, tensor in dense.parameters.items()}
    trained = {name: parameters[name] for name in trained_names(dense.network)}
    counts = allocation(parameters, dense.network, settings)
    return NestState(parameters, initial_moments(trained), counts, parameters, counts, ())


def trained_names(network: Network) -> tuple[str, ...]:
    """Return what the second stage trains: all weights, and what each subnet has of its own in the third."""
    return tuple(sorted({*weight_names(network), *own_names(network)}))


def allocation(parameters: Parameters, network: Network, settings: NestSettings) -> Counts:
    """Return how many numbers of each row the subnets keep, given the weights."""
    weights = {name: parameters[name] for name in weight_names(network)}
    return allocated(weights, row_sizes(network, settings), settings.sparsities)


def subnets_of(parameters: Parameters, network: Network, settings: NestSettings, counts: Counts) -> list[Parameters]:
    """Return the parameters of each subnet: all share the tensors, and have masks of their own."""
    subnets = [dict(parameters) for _ in settings.sparsities]
    for name, size in row_sizes(network, settings).items():
        for subnet, mask in zip(subnets, sampled_masks(parameters[name], size, counts[name]), strict=True):
            subnet[name + MASK] = mask
    return subnets


def epoch(state: NestState, network: Network, settings: NestSettings, objective: Objective) -> NestState:
    """Train all subnets for an epoch; keep the best, and choose the shares anew after an epoch that is no better."""
    parameters, moments = state.parameters, state.moments
    weights, names = loss_weights(settings.sparsities, settings.gamma), trained_names(network)
    begin = len(state.log) * settings.iterations
    for iteration in range(begin, begin + settings.iterations):
        subnets = subnets_of(parameters, network, settings, state.counts)
        gradients = weighted_sum(objective.gradients(subnets, names, iteration), weights)
        rate = cosine(settings.learning_rate, iteration, settings.epochs * settings.iterations)
        moved, moments = adam_step(parameters, gradients, moments, rate)
        parameters = parameters | moved
    subnets = subnets_of(parameters, network, settings, state.counts)
    scores = tuple(objective.score(each) for each in subnets)
    better = sum(scores) > state.best_sum
    done = Epoch(len(state.log) + 1, scores, better)
    state = replace(state, parameters=parameters, moments=moments, log=(*state.log, done))
    if better:
        return replace(state, best=parameters, best_counts=state.counts)
    return replace(state, counts=allocation(parameters, network, settings))


def weighted_sum(gradients: Sequence[Parameters], weights: Sequence[float]) -> Parameters:
    """Return sum_k pi_k g_k by name; raise NumericalFault if a number is not finite."""
    total = {
        name: torch.stack([weight * each[name] for weight, each in zip(weights, gradients, strict=True)]).sum(dim=0)
        for name in gradients[0]
    }
    for gradient in total.values():
        require_finite("the gradient of the subnets is", gradient)
    return total


def cosine(rate: float, iteration: int, iterations: int) -> float:
    """Return the learning rate on half a cosine from the initial one to zero after the last iteration."""
    return rate * (1 + math.cos(math.pi * iteration / iterations)) / 2


def tuned(state: NestState, network: Network, settings: NestSettings, objective: Objective) -> list[Parameters]:
    """Return what each subnet has of its own, trained on its own loss while all weights and masks stay."""
    names = own_names(network)
    subnets = subnets_of(state.best, network, settings, state.best_counts)
    moments = [initial_moments({name: subnet[name] for name in names}) for subnet in subnets]
    begin = settings.epochs * settings.iterations
    for iteration in range(settings.tuning):
        rate = cosine(settings.learning_rate, iteration, settings.tuning)
        gradients = objective.gradients(subnets, names, begin + iteration)
        for number, (subnet, gradient) in enumerate(zip(subnets, gradients, strict=True)):
            moved, moments[number] = adam_step(subnet, gradient, moments[number], rate)
            subnets[number] = subnet | moved
    return [{name: subnet[name] for name in names} for subnet in subnets]


def as_nested(
    dense: Controller | Classifier, settings: NestSettings, state: NestState, own: Sequence[Parameters]
) -> Nested:
    """Return the nested controller of the best epoch.

    Args:
        dense: The controller that it comes from.
        settings: How it was trained.
        state: The state after the last epoch.
        own: What each subnet has of its own.
    """
    network, sizes = dense.network, row_sizes(dense.network, settings)
    tables = {name: encoded(state.best[name], size, state.best_counts[name]) for name, size in sizes.items()}
    stacked = {name: torch.stack([each[name] for each in own]).detach() for name in own_names(network)}
    shared = {name: dense.parameters[name] for name in shared_names(network, dense.parameters)}
    record: dict[str, Any] = asdict(settings) | {"epochs_done": [asdict(each) for each in state.log]}
    metadata = replace(dense.metadata, training=dense.metadata.training | {"nesting": record})
    return Nested(tables, stacked, shared, network, metadata)
