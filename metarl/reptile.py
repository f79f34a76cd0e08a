"""Reptile: an outer loop that moves towards the adapted parameters, with no gradient of its own.

theta <- theta + epsilon * (mean over tasks of theta_i - theta), where theta_i are a task's parameters after K >= 2
inner steps, each on fresh data (Nichol, Achiam and Schulman, 2018, Alg. 2). After one step that is a training on all
tasks together; what tells Reptile from it is the later steps' dependence on the earlier ones.

Weight clustering asks for a start close to good parameters of many tasks: in all inner steps but the first, every task
is pulled towards the mean of the tasks (Goldblum et al., Unraveling Meta-Learning, ICML 2020, Alg. 4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from metarl.core.errors import Refusal
from metarl.policies.methods import STEP_SIZES, get_method
from metarl.policies.networks.network import Network, Parameters, layer_of

SMALLEST = 1e-6  # of a filter's norm, where something is divided by it


def check_outer_loop(method: str, inner_steps: int, weight_clustering: float, meta_batch_size: int) -> None:
    """Raise Refusal for settings that the method's outer loop cannot use.

    Args:
        method: The method's name.
        inner_steps: K.
        weight_clustering: How strongly the tasks are pulled together.
        meta_batch_size: Tasks in a meta-batch.
    """
    least, moves = get_method(method).least_steps, get_method(method).outer == "towards"
    if inner_steps < least:
        raise Refusal(
            f"setting 'inner_steps' must be at least {least} with {method}, got {inner_steps}: after one step it is a "
            "training on all tasks together"
        )
    if weight_clustering and not moves:
        raise Refusal(f"setting 'weight_clustering' goes with reptile alone, and must be 0 with {method}")
    if weight_clustering and meta_batch_size < 2:
        raise Refusal(
            f"weight clustering pulls tasks together: 'meta_batch_size' must be 2 or more, got {meta_batch_size}"
        )


def moved_towards(
    parameters: Parameters, adapted: Sequence[Parameters], names: Sequence[str], share: float
) -> Parameters:
    """Return the meta-parameters after an outer move of Reptile.

    Args:
        parameters: The meta-parameters theta.
        adapted: Each task's parameters after its inner steps.
        names: The parameters that move.
        share: epsilon, the share of the way.

    Returns:
        All parameters, those that move ``share`` of the way towards the mean over the tasks.
    """
    moved = {name: parameters[name].lerp(_mean(name, adapted), share) for name in names}
    return parameters | moved


def clustered(
    network: Network, taken: Sequence[Parameters], start: Sequence[Parameters], weight: float, step: int
) -> list[Parameters]:
    """Return each task's parameters after an inner step on its loss plus the penalty of weight clustering.

    Args:
        network: The network.
        taken: Each task's parameters after the step on the loss alone.
        start: Those before it, where the penalty's gradient is taken.
        weight: How strongly the tasks are pulled together.
        step: The inner step, from 0.

    Returns:
        The parameters after the step.
    """
    if not pulls(weight, step, len(start)):
        return list(taken)
    middle = center(network, start)
    return [pulled(network, *pair, middle, weight, step) for pair in zip(taken, start, strict=True)]


def pulls(weight: float, step: int, tasks: int) -> bool:
    """Return whether an inner step pulls tasks together: not the first, before which all are alike, nor one task."""
    return weight > 0 and step > 0 and tasks > 1


def center(network: Network, parameters: Sequence[Parameters]) -> Parameters:
    """Return the mean over the tasks of every weight that has filters, by name."""
    names = [f"{layer.name}.weight" for layer in network.layers if not layer.is_norm]
    return {name: _mean(name, parameters) for name in names}


def pulled(
    network: Network, taken: Parameters, start: Parameters, middle: Parameters, weight: float, step: int
) -> Parameters:
    """Return one task's parameters after an inner step, pulled towards ``middle`` by the layers' step sizes.

    Args:
        network: The network.
        taken: The parameters after the step on the loss alone.
        start: Those before it.
        middle: The mean over the tasks.
        weight: How strongly the tasks are pulled together.
        step: The inner step, from 0.

    Returns:
        The parameters after the step.
    """
    rates = dict(zip(network.layer_names, start[STEP_SIZES][step].tolist(), strict=True))
    gradients = clustering_gradient(network, start, middle)
    return taken | {name: taken[name] - rates[layer_of(name)] * weight * each for name, each in gradients.items()}


def clustering_gradient(network: Network, parameters: Parameters, middle: Parameters) -> Parameters:
    """Return half the gradient of the filter-normalized squared distance to ``middle``, which counts as constant.

    A filter is what gives one output: a row of a linear layer's weight, a kernel of a convolution. A network with norms
    does not depend on the lengths of its filters: there the distance is that of their directions. Otherwise it is each
    filter's distance over the length of the middle one. Biases and norms are left alone.
    """
    gradient = _gradient_of_directions if any(layer.is_norm for layer in network.layers) else _gradient_of_filters
    return {
        name: gradient(parameters[name].detach().flatten(1), each.flatten(1)).view_as(each)
        for name, each in middle.items()
    }


def filter_distance(network: Network, parameters: Parameters, others: Parameters) -> float:
    """Return the filter-normalized distance between two settings of a network, from ``others`` on.

    It is the root of the squared distance whose gradient ``clustering_gradient`` is, summed over all filters.
    """
    has_norms = any(layer.is_norm for layer in network.layers)
    total = 0.0
    for name, middle in center(network, [others]).items():
        filters, middles = parameters[name].detach().flatten(1), middle.flatten(1)
        if has_norms:
            apart = filters / _lengths(filters) - middles / _lengths(middles)
        else:
            apart = (filters - middles) / _lengths(middles)
        total += float((apart**2).sum())
    return math.sqrt(total)


def _gradient_of_filters(filters: Tensor, middle: Tensor) -> Tensor:
    """Return half the gradient of the sum over filters [filter, weight] of |w - m|^2 / |m|^2."""
    return (filters - middle) / _lengths(middle) ** 2


def _gradient_of_directions(filters: Tensor, middle: Tensor) -> Tensor:
    """Return half the gradient of the sum over filters [filter, weight] of |w / |w| - m / |m||^2."""
    lengths = _lengths(filters)
    directions = filters / lengths
    apart = directions - middle / _lengths(middle)
    return (apart - (apart * directions).sum(dim=1, keepdim=True) * directions) / lengths


def _mean(name: str, parameters: Sequence[Parameters]) -> Tensor:
    return torch.stack([each[name].detach() for each in parameters]).mean(dim=0)


def _lengths(filters: Tensor) -> Tensor:
    lengths: Tensor = filters.norm(dim=1, keepdim=True)
    return lengths.clamp_min(SMALLEST)
