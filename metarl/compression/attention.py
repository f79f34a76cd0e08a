"""Shrink the attention modules of p-Meta: fewer units between their two layers, and no channels that are gone."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import torch
from torch import Tensor

from metarl.compression.removal import damped, kept_inputs, second_moments, updated_weight
from metarl.core.clock import Clock
from metarl.core.errors import Refusal
from metarl.core.randomness import Purpose, generator
from metarl.core.threads import single_threaded_torch
from metarl.envs.family import TaskFamily
from metarl.inner_loop import layer_gradients
from metarl.policies.attention import PREFIX, attention_rank, attention_shapes, summarize
from metarl.policies.controller import Controller
from metarl.policies.methods import CHANNEL_STEP_SIZES
from metarl.policies.networks.layers import Layer
from metarl.policies.networks.network import Parameters
from metarl.rl.adaptation import adapt_to_tasks
from metarl.rl.evaluation import adaptation_settings
from metarl.rl.sampling import Sampler

Summaries = Mapping[str, Tensor]  # what each module gets [sample, channel], by LAYER.forward and LAYER.backward


def check_shrinkable(controller: Controller, rank: int) -> None:
    """Raise Refusal unless the controller has attention modules of more than ``rank`` hidden units."""
    own = attention_rank(controller.parameters)
    if own is None:
        raise Refusal(f"a controller of {controller.metadata.method} has no attention modules to shrink")
    if rank >= own:
        raise Refusal(
            f"attention must have fewer hidden units than the controller's modules, which have {own}, got {rank}"
        )


def shrink_attention(
    controller: Controller, family: TaskFamily, rank: int, tasks: int, seed: int, damping: float, threads: int
) -> Controller:
    """Leave ``rank`` hidden units in each attention module, or as many as its layer has channels if these are fewer.

    Args:
        controller: The controller.
        family: The task family, as the controller sees it.
        rank: The hidden units that stay.
        tasks: The tasks whose support episodes the modules are judged on.
        seed: Seed of tasks and episodes.
        damping: Added to the diagonal of the second moments, as a share of its mean.
        threads: Threads of the simulator and of the adaptation.
    """
    summaries = module_summaries(controller, family, tasks, seed, threads)
    shrunk = shrunk_modules(controller.parameters, controller.network.layers, rank, summaries, damping)
    return replace(controller, parameters=shrunk)


def module_summaries(
    controller: Controller, family: TaskFamily, tasks: int, seed: int, threads: int
) -> dict[str, Tensor]:
    """Return what the attention modules get from the support episodes of random tasks, in all inner steps.

    Where attention weighs activations, those of a pass that it does not weigh stand for them.

    Args:
        controller: The controller.
        family: The task family, as the controller sees it.
        tasks: The number of tasks.
        seed: Seed of tasks and episodes.
        threads: Threads of the simulator and of the adaptation.
    """
    network, settings = controller.network, adaptation_settings(controller)
    random = generator(seed, Purpose.PRUNING)
    with (
        single_threaded_torch(),
        Sampler(family, network, controller.metadata.action_scale, threads) as sampler,
        ThreadPoolExecutor(threads) as executor,
    ):
        chosen = family.sample_tasks(tasks, random)
        adaptation = adapt_to_tasks(
            controller.parameters, chosen, settings, sampler, executor, random, Clock(), query_advantages=False
        )
        plain, found = replace(settings.method, attention=None), dict[str, list[Tensor]]()
        for step, batches in enumerate(adaptation.batches[: settings.inner_steps]):
            for parameters, batch in zip(adaptation.parameters[step], batches, strict=True):
                gradients, _ = layer_gradients(network, parameters, plain, step, batch, second_order=False)
                for layer, each in gradients.items():
                    for side, tensor in (("forward", each.inputs), ("backward", each.at_output)):
                        summary = summarize(tensor.detach(), batch.samples, per_position=side == "backward")
                        found.setdefault(f"{layer}.{side}", []).append(summary)
    return {end: torch.cat(each) for end, each in found.items()}


def shrunk_modules(
    parameters: Parameters, layers: Sequence[Layer], rank: int, summaries: Summaries, damping: float
) -> Parameters:
    """Return the parameters with at most ``rank`` hidden units in each module, and no more than its channels.

    Hidden units are removed whose removal changes the logits least, and the second layer is refitted to what is left.

    Args:
        parameters: The parameters of a controller.
        layers: The network's layers.
        rank: The hidden units that stay.
        summaries: What the modules get, over many tasks.
        damping: Added to the diagonal of the second moments, as a share of its mean.
    """
    shrunk = dict(parameters)
    for name, shape in attention_shapes(layers, rank=rank).items():
        module, _, tensor = name.rpartition(".fc1.")
        if tensor != "weight" or name not in parameters or len(parameters[name]) <= shape[0]:
            continue
        hidden_weight, hidden_bias, weight, bias = (
            parameters[f"{module}.{each}"].detach() for each in ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias")
        )
        hidden = torch.relu(summaries[module.removeprefix(PREFIX)] @ hidden_weight.mT + hidden_bias)
        _warn_of_few(module, *hidden.shape)
        moments = damped(second_moments(hidden), damping)
        joined = torch.cat([weight, bias[:, None]], dim=1).double()
        kept = kept_inputs(joined, moments[0], shape[0])
        stays = kept.expand(len(joined), -1)
        refitted = updated_weight(joined, stays, moments, "exact", torch.ones_like(stays)).float()
        shrunk |= {
            f"{module}.fc1.weight": hidden_weight[kept],
            f"{module}.fc1.bias": hidden_bias[kept],
            f"{module}.fc2.weight": refitted[:, :-1][:, kept].contiguous(),
            f"{module}.fc2.bias": refitted[:, -1].contiguous(),
        }
    return shrunk


def narrowed_weighing(parameters: Parameters, stays: Mapping[str, Tensor]) -> Parameters:
    """Return the attention modules and channel step sizes, of those there are, without the channels that are gone.

    Args:
        parameters: The parameters of a controller.
        stays: Which channels stay [channel], by LAYER.forward for a layer's inputs and LAYER.backward for its outputs.
    """
    narrowed = {}
    for end, kept in stays.items():
        module, step_sizes = PREFIX + end, CHANNEL_STEP_SIZES + end
        for name in (step_sizes, f"{module}.fc1.weight"):
            if name in parameters:
                narrowed[name] = parameters[name][:, kept].contiguous()
        for name in (f"{module}.fc2.weight", f"{module}.fc2.bias"):
            if name in parameters:
                narrowed[name] = parameters[name][kept].contiguous()
    return narrowed


def _warn_of_few(module: str, samples: int, units: int) -> None:
    if samples <= units:
        warnings.warn(
            f"{samples} episodes are fewer than the {units} hidden units of {module}, so their moments say little: "
            "take more tasks",
            stacklevel=3,
        )
