"""Remove whole hidden units of a policy: what comes out is a dense network with narrower layers."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from metarl.compression.attention import module_summaries, narrowed_weighing, shrunk_modules
from metarl.compression.pruning import judged, weighs_channels, with_bias
from metarl.compression.removal import smallest, updated_weight
from metarl.compression.settings import PruneSettings
from metarl.core.errors import Refusal
from metarl.envs.family import TaskFamily
from metarl.policies.attention import SIDES, attention_rank
from metarl.policies.compression.masks import MASK, masks_of, weight_names
from metarl.policies.controller import Controller
from metarl.policies.networks.mlp import PolicyNetwork
from metarl.policies.networks.network import Parameters


def remove_units(
    controller: Controller, family: TaskFamily, settings: PruneSettings, widths: tuple[int, ...], threads: int
) -> Controller:
    """Remove hidden units until as many are left as all ``widths`` together, or these with a uniform allocation.

    A unit's score is the sum of the scores of the weights that it feeds. The layer that it feeds is refitted as for
    single weights.

    Args:
        controller: The controller, dense.
        family: The task family, as the controller sees it.
        settings: What the units are judged by.
        widths: Hidden sizes of a uniform allocation.
        threads: Threads of the simulator and of the adaptation.

    Returns:
        The narrower controller. Refusal if a layer would lose all its units.
    """
    network, names = controller.network, weight_names(controller.network)
    scores, moments = judged(controller, family, settings, threads)
    sums = [scores[name].sum(dim=0, keepdim=True) for name in names[1:]]
    kept = [each[0] for each in kept_units(sums, widths, settings)]
    for number, units in enumerate(kept, start=1):
        if not units.any():
            raise Refusal(
                f"a sparsity of {settings.sparsity:g} leaves no hidden unit in layer{number}: "
                "ask for less, or for a uniform allocation"
            )
    refitted = dict(controller.parameters)
    for name, units in zip(names[1:], kept, strict=True):
        if name in moments:
            weight, bias = _refitted(refitted, name, units, moments[name], settings)
            refitted |= {name: weight, name.replace(".weight", ".bias"): bias}
    smaller = replace(network, hidden_sizes=tuple(int(units.sum()) for units in kept))
    narrowed = _narrowed(refitted, network, kept)
    if rank := attention_rank(narrowed):
        summaries = module_summaries(controller, family, settings.tasks, settings.seed, threads)
        seen = {end: summaries[end][:, stays] for end, stays in _channels(network, kept).items() if end in summaries}
        narrowed = shrunk_modules(narrowed, smaller.layers, rank, seen, settings.damping)
    return replace(controller, network=smaller, parameters=narrowed)


def without_unread_units(controller: Controller) -> Controller:
    """Return the pruned controller without the hidden units whose outgoing weights are all pruned.

    Its network is narrower, and acts and adapts the same. A controller whose method weighs channels stays as it is,
    because its modules see all of them, and so does a dense one.
    """
    network, parameters, masks = controller.network, controller.parameters, masks_of(controller.parameters)
    if weighs_channels(parameters) or not masks:
        return controller
    kept = [(masks[name] != 0).any(dim=0) for name in weight_names(network)[1:]]
    smaller = replace(network, hidden_sizes=tuple(int(units.sum()) for units in kept))
    return replace(controller, network=smaller, parameters=_narrowed(parameters, network, kept))


def kept_units(scores: list[Tensor], widths: tuple[int, ...], settings: PruneSettings) -> list[Tensor]:
    """Return which hidden units [1, unit] of each layer stay, given their scores [1, unit]."""
    if settings.allocation == "uniform":
        return [smallest([each], each.numel() - width)[0] for each, width in zip(scores, widths, strict=True)]
    return smallest(scores, sum(each.numel() for each in scores) - sum(widths))


def widths_after(hidden_sizes: tuple[int, ...], share: float) -> tuple[int, ...]:
    """Return the hidden sizes with that share of the units removed in each layer."""
    return tuple(round((1 - share) * size) for size in hidden_sizes)


def _refitted(
    parameters: Parameters, name: str, units: Tensor, moments: Tensor, settings: PruneSettings
) -> tuple[Tensor, Tensor]:
    """Return a layer's weight and bias, changed to make up for inputs that it loses."""
    weight = with_bias(parameters, name)
    stays = units.expand(len(weight), -1)
    updated = updated_weight(weight, stays, moments, settings.removal, torch.ones_like(stays))
    return updated[:, :-1].float(), updated[:, -1].float()


def _narrowed(parameters: Parameters, network: PolicyNetwork, kept: list[Tensor]) -> Parameters:
    """Return the parameters without removed units, those of a layer's context and of what weighs its channels, too."""
    narrowed, channels = dict(parameters), _channels(network, kept)
    for layer in network.layers:
        inputs, outputs = (channels[f"{layer.name}.{side}"] for side in SIDES)
        for name in (f"{layer.name}.weight", f"{layer.name}.weight{MASK}"):
            if name in parameters:
                narrowed[name] = parameters[name][outputs][:, inputs].contiguous()
        for name in (f"{layer.name}.bias", layer.context_weight_name):
            if name in parameters:
                narrowed[name] = parameters[name][outputs].contiguous()
    return narrowed | narrowed_weighing(parameters, channels)


def _channels(network: PolicyNetwork, kept: list[Tensor]) -> dict[str, Tensor]:
    """Return which channels stay [channel], given the hidden units that do, as ``narrowed_weighing`` takes them."""
    first, last = (torch.ones(size, dtype=torch.bool) for size in (network.sizes[0], network.sizes[-1]))
    return {
        f"{layer.name}.{side}": stays
        for layer, channels in zip(network.layers, pairwise([first, *kept, last]), strict=True)
        for side, stays in zip(SIDES, channels, strict=True)
    }
