"""What the layers of adapted networks see: the statistics that pruning judges weights by."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch
from torch import Tensor

from metarl.compression.removal import second_moments
from metarl.compression.settings import Statistics
from metarl.core.clock import Clock
from metarl.core.randomness import Purpose, generator
from metarl.core.threads import single_threaded_torch
from metarl.envs.family import TaskFamily
from metarl.policies.controller import Controller
from metarl.policies.networks.distributions import Gaussian
from metarl.policies.networks.mlp import PolicyNetwork
from metarl.policies.networks.network import LayerTrace, Operation, Parameters
from metarl.rl.adaptation import adapt_to_tasks
from metarl.rl.evaluation import adaptation_settings
from metarl.rl.sampling import Sampler

SAMPLES_PER_TASK = 400


class Sample(NamedTuple):
    """Observations [sample, observation] of a task, and the parameters of the policy that met them."""

    parameters: Parameters
    observations: Tensor


def sample_tasks(
    controller: Controller, family: TaskFamily, tasks: int, seed: int, threads: int, statistics: Statistics
) -> list[Sample]:
    """Adapt the controller to random tasks and return up to SAMPLES_PER_TASK observations of each.

    Args:
        controller: The controller.
        family: The task family, as the controller sees it.
        tasks: The number of tasks; ``l-obs`` takes one, whatever is given.
        seed: Seed of tasks and episodes.
        threads: Threads of the simulator and of the adaptation.
        statistics: ``un-adapted`` takes the policy before the inner loop, the others the one after it.
    """
    random = generator(seed, Purpose.PRUNING)
    chosen = family.sample_tasks(1 if statistics == "l-obs" else tasks, random)
    with (
        single_threaded_torch(),
        Sampler(family, controller.network, controller.metadata.action_scale, threads) as sampler,
        ThreadPoolExecutor(threads) as executor,
    ):
        settings = adaptation_settings(controller)
        adaptation = adapt_to_tasks(controller.parameters, chosen, settings, sampler, executor, random, Clock())
    which = 0 if statistics == "un-adapted" else -1
    samples = []
    for parameters, batch in zip(adaptation.parameters[which], adaptation.batches[which], strict=True):
        observations = batch.observations[batch.valid]
        places = torch.linspace(0, len(observations) - 1, min(SAMPLES_PER_TASK, len(observations))).long()
        detached = {name: tensor.detach() for name, tensor in parameters.items()}
        samples.append(Sample(detached, observations[places]))
    return samples


def layer_moments(network: PolicyNetwork, samples: list[Sample], statistics: Statistics) -> dict[str, Tensor]:
    """Return the second moments of each layer's inputs, by the layer's name, as ``second_moments`` does.

    ``weighted`` weighs the inputs of each output channel by how strongly it moves the policy: the squared derivatives
    of the mean actions over their variances, which is the Gauss-Newton matrix of the policy's KL divergence.
    """
    inputs: dict[str, list[Tensor]] = {layer: [] for layer in network.layer_names}
    sensitivities: dict[str, list[Tensor]] = {layer: [] for layer in network.layer_names}
    for parameters, observations in samples:
        trace, outputs = _traced(network, parameters, observations)
        for layer, traced in trace.items():
            inputs[layer].append(traced.input.detach())
        if statistics == "weighted":
            distribution = network.distribution(parameters, outputs)
            assert isinstance(distribution, Gaussian)
            variances = (2 * distribution.log_std).exp()
            for layer, squared in _squared_derivatives(trace, outputs, variances).items():
                sensitivities[layer].append(squared)
    return {
        layer: second_moments(torch.cat(each), torch.cat(sensitivities[layer]) if sensitivities[layer] else None)
        for layer, each in inputs.items()
    }


def _traced(
    network: PolicyNetwork, parameters: Parameters, observations: Tensor
) -> tuple[dict[str, LayerTrace], Tensor]:
    """Run the network so that its outputs can be differentiated by those of each layer."""

    def run(layer: str, operation: Operation, inputs: Tensor) -> LayerTrace:
        output = operation(inputs)
        return LayerTrace(inputs, output if output.requires_grad else output.requires_grad_())

    with torch.enable_grad():
        outputs, trace = network(parameters, observations, run)
    return trace, outputs


def _squared_derivatives(trace: dict[str, LayerTrace], outputs: Tensor, variances: Tensor) -> dict[str, Tensor]:
    """Return sum over the actions a of (d mean_a / d y_l)^2 / variance_a [sample, output], by layer."""
    totals = {layer: torch.zeros_like(each.output) for layer, each in trace.items()}
    for action, variance in enumerate(variances):
        wanted = [each.output for each in trace.values()]
        derivatives = torch.autograd.grad(outputs[:, action].sum(), wanted, retain_graph=True)
        for layer, derivative in zip(trace, derivatives, strict=True):
            totals[layer] += derivative.square() / variance
    return {layer: each.detach() for layer, each in totals.items()}
