"""Prune the weights of a meta-trained controller so that it still adapts (ANP, CIKM 2021)."""

from __future__ import annotations

import warnings
from dataclasses import replace

import torch
from torch import Tensor

from metarl.compression.activations import layer_moments, sample_tasks
from metarl.compression.attention import check_shrinkable
from metarl.compression.choice import chosen_masks, connected_masks
from metarl.compression.images import check_images, image_moments
from metarl.compression.removal import damped, removal_scores, updated_weight
from metarl.compression.settings import PruneSettings
from metarl.compression.tasks import Model, Tasks, family_of, images_of
from metarl.core.errors import Refusal
from metarl.policies.attention import PREFIX
from metarl.policies.classifier import Classifier
from metarl.policies.compression.bases import refuse_bases
from metarl.policies.compression.masks import MASK, masks_of, sparsity, weight_names
from metarl.policies.controller import Controller
from metarl.policies.files.checks import check_adaptable
from metarl.policies.methods import CHANNEL_STEP_SIZES, get_method
from metarl.policies.networks.integers import refuse_integers
from metarl.policies.networks.mlp import PolicyNetwork
from metarl.policies.networks.network import Network, Parameters


def check_prunable(controller: Controller | Classifier, settings: PruneSettings) -> None:
    """Raise Refusal if the controller cannot be pruned to that sparsity."""
    refuse_integers(controller.network, "pruning")
    refuse_bases(controller.parameters, "pruning")
    if isinstance(controller, Controller) and controller.metadata.adapted_to is not None:
        raise Refusal("the controller is adapted to a task: prune the meta-trained one that it came from")
    method = get_method(controller.metadata.method)
    if not method.adapts:
        raise Refusal(f"{method.name} does not adapt, and this pruning is about keeping adaptation")
    check_adaptable(controller.parameters, controller.network, method, on_device=False)
    if settings.attention:
        if isinstance(controller, Classifier):
            raise Refusal("attention modules are shrunk in policies alone, not in image networks")
        check_shrinkable(controller, settings.attention)
        if settings.sparsity == 0:
            return
    already = sparsity(controller.parameters, controller.network)
    if settings.sparsity <= already:
        raise Refusal(f"the sparsity must be above the controller's own, {already:.3g}, got {settings.sparsity:g}")
    if isinstance(controller, Classifier):
        check_images(controller, settings)
        return
    if settings.criterion == "weighted" and controller.network.choices is not None:
        raise Refusal("the criterion weighted is for actions that are vectors, not ones to choose: take anp")
    if settings.structure == "units" and already:
        raise Refusal("single weights of the controller are pruned: units are removed of a dense one")


def weighs_channels(parameters: Parameters) -> bool:
    """Return whether the inner step weighs channels of hidden units."""
    return any(name.startswith((PREFIX, CHANNEL_STEP_SIZES)) for name in parameters)


def prune_once(controller: Model, tasks: Tasks, settings: PruneSettings, share: float, threads: int) -> Model:
    """Remove weights until a share of all is removed, and change the others to make up for it.

    Args:
        controller: The controller, which may be pruned already: what is removed stays so.
        tasks: Where its tasks come from.
        settings: What the weights are judged by.
        share: The share of all weights that is removed at the end.
        threads: Threads of the simulator and of the adaptation.

    Returns:
        The pruned controller. Refusal if a layer would lose all its weights.
    """
    network, parameters = controller.network, controller.parameters
    scores: dict[str, Tensor]
    moments: dict[str, Tensor]
    scores, moments = judged(controller, tasks, settings, threads)
    choose = connected_masks if settings.connected and isinstance(controller, Controller) else chosen_masks
    masks = dict(zip(weight_names(network), choose([*scores.values()], share, settings.allocation), strict=True))
    for name, mask in masks.items():
        if not mask.any():
            raise Refusal(f"a sparsity of {share:g} leaves no weight in {name.removesuffix('.weight')}: ask for less")
    pruned = dict(parameters)
    for name, mask in masks.items():
        updated = with_bias(parameters, name)
        if name in moments:
            updated = updated_weight(updated, mask, moments[name], settings.removal, _kept(parameters, name))
        shape, inputs = parameters[name].shape, mask.shape[1]
        weight = torch.where(mask, updated[:, :inputs].float(), torch.zeros(()))
        pruned[name] = weight.reshape(shape)
        if inputs < updated.shape[1]:
            pruned[name.replace(".weight", ".bias")] = updated[:, -1].float()
        pruned[name + MASK] = mask.float().reshape(shape)
    return replace(controller, parameters=pruned)


def judged(
    controller: Controller | Classifier, tasks: Tasks, settings: PruneSettings, threads: int
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the scores of all weights by name [output, input], and the damped moments of the layers' inputs.

    Magnitude and chance have no moments.

    Args:
        controller: The controller, which may be pruned already.
        tasks: Where its tasks come from.
        settings: What the weights are judged by.
        threads: Threads of the simulator and of the adaptation.
    """
    network, parameters = controller.network, controller.parameters
    criterion = settings.criterion
    if criterion == "magnitude" or criterion == "random":
        return dict(zip(weight_names(network), _plain_scores(parameters, network, settings), strict=True)), {}
    if isinstance(controller, Classifier):
        found = image_moments(controller, images_of(tasks), settings, criterion, threads)
    else:
        samples = sample_tasks(controller, family_of(tasks), settings.tasks, settings.seed, threads, criterion)
        _warn_of_few(sum(len(each.observations) for each in samples), controller.network)
        found = layer_moments(controller.network, samples, criterion)
    moments = {f"{layer}.weight": damped(each, settings.damping) for layer, each in found.items()}
    scores = {
        name: removal_scores(with_bias(parameters, name), _kept(parameters, name), moments[name], settings.removal)
        for name in weight_names(network)
    }
    return scores, moments


def shares(controller: Controller | Classifier, settings: PruneSettings) -> list[float]:
    """Return the sparsity after each round: the same number of weights goes in each, none if 0 is asked for."""
    begin = sparsity(controller.parameters, controller.network)
    if settings.sparsity == 0:
        return [begin] * settings.rounds
    step = (settings.sparsity - begin) / settings.rounds
    return [*(begin + step * number for number in range(1, settings.rounds)), settings.sparsity]


def _plain_scores(parameters: Parameters, network: Network, settings: PruneSettings) -> list[Tensor]:
    """Return the scores that need no tasks."""
    random = torch.Generator().manual_seed(settings.seed)
    scores = []
    for name in weight_names(network):
        weight = parameters[name].flatten(1).double()
        score = weight.abs() if settings.criterion == "magnitude" else torch.rand(weight.shape, generator=random)
        scores.append(torch.where(_kept(parameters, name), score.double(), -torch.inf))
    return scores


def with_bias(parameters: Parameters, name: str) -> Tensor:
    """Return a layer's weights with its bias, if it has one, as the last column [output, input + 1], in float64."""
    weight, bias = parameters[name].flatten(1), parameters.get(name.replace(".weight", ".bias"))
    return (weight if bias is None else torch.cat([weight, bias[:, None]], dim=1)).detach().double()


def _kept(parameters: Parameters, name: str) -> Tensor:
    """Return which numbers of a weight are kept so far [output, input]."""
    mask = masks_of(parameters).get(name)
    return (torch.ones_like(parameters[name]) if mask is None else mask).flatten(1) != 0


def _warn_of_few(samples: int, network: PolicyNetwork) -> None:
    widest = max(layer.inputs for layer in network.layers)
    if samples <= widest:
        warnings.warn(
            f"{samples} observations are fewer than the {widest} inputs of a layer, so their moments say little: "
            "take more tasks",
            stacklevel=3,
        )
