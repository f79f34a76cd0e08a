"""A controller of integers: scales from rollouts before and after adaptation, and rounded parameters."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Annotated

import torch
from pydantic import Field, with_config
from torch import Tensor

from metarl.core.clock import Clock
from metarl.core.errors import Refusal
from metarl.core.randomness import Purpose, generator
from metarl.core.threads import single_threaded_torch
from metarl.core.validation import STRICT, Finite, validate_fields
from metarl.envs.family import TaskFamily
from metarl.policies.classifier import Classifier
from metarl.policies.compression.bases import refuse_bases
from metarl.policies.compression.masks import masks_of
from metarl.policies.controller import Controller
from metarl.policies.files.checks import check_adaptable
from metarl.policies.methods import STEP_SIZES, get_method
from metarl.policies.networks.integers import LARGEST, LARGEST_BIAS, IntegerMLP
from metarl.policies.networks.mlp import GaussianMLP
from metarl.policies.networks.network import Parameters
from metarl.rl.adaptation import Adaptation, adapt_to_tasks
from metarl.rl.batch import Batch
from metarl.rl.evaluation import adaptation_settings
from metarl.rl.sampling import Sampler

HEADROOM = 1.5  # between the largest sum of gradients that was seen and the largest int16


@with_config(STRICT)
@dataclass(frozen=True)
class IntegerSettings:
    """How scales are found. Raise Refusal for a value that is not allowed."""

    gradient_bits: int = 8
    """Bits of the gradients in an inner step, 8 or 16."""
    tasks: Annotated[int, Field(ge=1)] = 20
    """Tasks whose rollouts, before and after adaptation, the scales come from."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of these tasks and of their episodes."""
    clipped: Annotated[Finite, Field(ge=0, lt=1)] = 1e-4
    """The share of the activations, and of gradients of 8 bits, that lies beyond the largest integer."""

    def __post_init__(self) -> None:
        validate_fields(self)
        if self.gradient_bits not in (8, 16):
            raise Refusal(f"gradient-bits must be 8 or 16, got {self.gradient_bits}")


@dataclass
class Ranges:
    """What was seen of the layers, by their names.

    Attributes:
        inputs: The absolute inputs [sample, channel]; of hidden layers [sample].
        gradients: The absolute gradients at the outputs [sample].
        weights: The largest absolute weight by input channel [input], before and after adaptation.
        sums: The largest absolute gradient of a weight that moved it in an inner step, summed over a task's time steps,
            by input channel [input].
    """

    inputs: dict[str, list[Tensor]] = field(default_factory=dict)
    gradients: dict[str, list[Tensor]] = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict)
    sums: dict[str, Tensor] = field(default_factory=dict)


def to_integers(
    controller: Controller,
    family: TaskFamily,
    settings: IntegerSettings | None = None,
    threads: int = 1,
) -> Controller:
    """Return the controller with int8 weights and activations, which adapts in integers.

    Args:
        controller: A meta-trained controller with float32 weights, none of them pruned.
        family: Its task family, as the controller sees it.
        settings: How scales are found.
        threads: Threads of the simulator and of the adaptation.

    Raises:
        Refusal: If the controller is compressed or adapted already, or if integers cannot hold what it adapts.
    """
    settings = settings or IntegerSettings()
    network = require_floats(controller).network
    assert isinstance(network, GaussianMLP)
    seen = ranges(network, rollouts(controller, family, settings, threads))
    integers = IntegerMLP(
        network.observation_size,
        network.hidden_sizes,
        network.action_size,
        network.initial_std,
        gradient_bits=8 if settings.gradient_bits == 8 else 16,
    )
    parameters = rounded_parameters(controller.parameters, integers, seen, settings)
    return replace(controller, parameters=parameters, network=integers)


def require_floats(controller: Controller | Classifier) -> Controller:
    """Return a controller as it is; raise Refusal unless integers can hold it and what it adapts."""
    if isinstance(controller, Classifier):
        raise Refusal("int8 is for policies: an image network's inner step has no program of integers")
    network = controller.network
    refuse_bases(controller.parameters, "int8")
    if isinstance(network, IntegerMLP) or masks_of(controller.parameters):
        what = "int8" if isinstance(network, IntegerMLP) else "pruned"
        raise Refusal(f"the controller is compressed already ({what}): start from the one that it came from")
    if not isinstance(network, GaussianMLP):
        raise Refusal("int8 is for actions that are vectors, and this controller chooses its actions")
    if controller.metadata.adapted_to is not None:
        raise Refusal("the controller is adapted to a task: start from the meta-trained one that it came from")
    method = get_method(controller.metadata.method)
    if method.takes_context:
        raise Refusal(f"{method.name} adapts a context, which integers do not hold: take a method that adapts layers")
    check_adaptable(controller.parameters, network, method, on_device=True)
    return controller


def rollouts(controller: Controller, family: TaskFamily, settings: IntegerSettings, threads: int) -> Adaptation:
    """Adapt the controller, still in floats, to random tasks."""
    random = generator(settings.seed, Purpose.PRUNING)
    tasks = family.sample_tasks(settings.tasks, random)
    with (
        single_threaded_torch(),
        Sampler(family, controller.network, controller.metadata.action_scale, threads) as sampler,
        ThreadPoolExecutor(threads) as executor,
    ):
        return adapt_to_tasks(
            controller.parameters, tasks, adaptation_settings(controller), sampler, executor, random, Clock()
        )


@torch.no_grad()
def ranges(network: GaussianMLP, adaptation: Adaptation) -> Ranges:
    """Return what the layers see before and after adaptation, and the gradients of every inner step."""
    seen = Ranges()
    steps = len(adaptation.parameters) - 1
    for step, (all_parameters, batches) in enumerate(zip(adaptation.parameters, adaptation.batches, strict=True)):
        for parameters, batch in zip(all_parameters, batches, strict=True):
            add_ranges(seen, network, parameters, batch, learns=step < steps)
    for step, (before, after) in enumerate(pairwise(adaptation.parameters)):
        for index, layer in enumerate(network.layer_names):
            for task, batch in enumerate(adaptation.batches[step]):
                step_size = float(before[task][STEP_SIZES][step, index])
                moved = (after[task][f"{layer}.weight"] - before[task][f"{layer}.weight"]).abs().amax(dim=0)
                if step_size:
                    _grow(seen.sums, layer, moved * int(batch.valid.sum()) / abs(step_size))
    return seen


def add_ranges(seen: Ranges, network: GaussianMLP, parameters: Parameters, batch: Batch, learns: bool) -> None:
    """Add what the layers of one policy see in its episodes; the gradients only if an inner step follows."""
    valid = batch.valid.reshape(-1)
    observations = batch.observations.reshape(-1, network.observation_size)[valid]
    outputs, trace = network(parameters, observations)
    for index, (layer, traced) in enumerate(trace.items()):
        size = traced.input.abs()
        seen.inputs.setdefault(layer, []).append(size.flatten() if index else size)
        _grow(seen.weights, layer, parameters[f"{layer}.weight"].abs().amax(dim=0))
    if not learns:
        return
    actions = batch.actions.reshape(-1, network.action_size)[valid]
    advantages = batch.advantages.reshape(-1)[valid]
    gradient = (outputs - actions) * (-2 * network.log_std(parameters)).exp() * advantages[:, None]
    for layer in reversed(network.layer_names):
        seen.gradients.setdefault(layer, []).append(gradient.abs().flatten())
        gradient = (gradient @ parameters[f"{layer}.weight"]) * (trace[layer].input > 0)


def _grow(largest: dict[str, Tensor], name: str, values: Tensor) -> None:
    largest[name] = torch.maximum(largest.get(name, values), values)


def rounded_parameters(
    parameters: Parameters, network: IntegerMLP, seen: Ranges, settings: IntegerSettings
) -> Parameters:
    """Return the parameters of a network of integers, with those of the inner loop as they are.

    Args:
        parameters: The float parameters.
        network: The network of integers.
        seen: What was seen of the layers.
        settings: The bits of the gradients, and the share that is clipped.
    """
    own = {name: tensor for name, tensor in parameters.items() if name not in network.parameter_shapes}
    largest_gradient = 2 ** (settings.gradient_bits - 1) - 1
    clipped = settings.clipped if settings.gradient_bits == 8 else 0.0
    for index, layer in enumerate(network.layer_names):
        inputs = torch.cat(seen.inputs[layer])
        input_scale = _positive(largest_but(inputs, settings.clipped) / LARGEST)
        folded = input_scale if index == 0 else torch.ones(())
        weight_scale = _positive((seen.weights[layer] * folded).amax() / LARGEST)
        gradient_scale = _positive(largest_but(torch.cat(seen.gradients[layer]), clipped) / largest_gradient)
        sums = (seen.sums.get(layer, torch.zeros(1)) / input_scale).amax() / gradient_scale
        unit = weight_scale if index == 0 else weight_scale * input_scale
        own |= {
            f"{layer}.weight": (parameters[f"{layer}.weight"] * folded / weight_scale).round().to(torch.int8),
            f"{layer}.bias": (parameters[f"{layer}.bias"] / unit).round().clamp(-LARGEST_BIAS, LARGEST_BIAS).int(),
            f"{layer}.weight_scale": weight_scale,
            f"{layer}.input_scale": input_scale,
            f"{layer}.gradient_scale": gradient_scale,
            f"{layer}.sum_shift": torch.tensor(shift_for(float(sums)), dtype=torch.int32),
        }
    log_std = f"{network.layer_names[-1]}.log_std"
    return {name: tensor.detach() for name, tensor in (own | {log_std: parameters[log_std]}).items()}


def shift_for(largest: float) -> int:
    """Return the bits that sums up to ``largest`` have to lose to fit into int16, with room for more."""
    shift = 0
    while HEADROOM * largest / 2**shift > 2**15 - 1 and shift < 31:
        shift += 1
    return shift


def largest_but(sizes: Tensor, share: float) -> Tensor:
    """Return the size [...channel] above which the ``share`` of the samples [sample, ...channel] lies."""
    place = min(len(sizes) - 1, int((1 - share) * len(sizes)))
    return sizes.sort(dim=0).values[place]


def _positive(scale: Tensor) -> Tensor:
    """Return the scales, the smallest normal number in place of those of channels that were always zero."""
    return scale.clamp_min(1e-12)
