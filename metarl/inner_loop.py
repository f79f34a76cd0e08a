"""The inner loop: the one update rule, for any network and loss, differentiable with respect to its start."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from metarl.policies.attention import Samples, attention_scores, summarize, weigh_channels
from metarl.policies.compression.bases import along_bases
from metarl.policies.compression.masks import masked
from metarl.policies.gate import gate_factor
from metarl.policies.methods import CHANNEL_STEP_SIZES, STEP_SIZES, Method
from metarl.policies.networks.network import LayerTrace, Network, Operation, Parameters, layer_of, run_layer

AnyNetwork = TypeVar("AnyNetwork", bound=Network)
NetworkIn = TypeVar("NetworkIn", bound=Network, contravariant=True)
Scores = dict[str, dict[str, Tensor]]  # gamma by layer and side; [sample, channel], or [channel] for all samples


class SupportBatch(Protocol[NetworkIn]):
    """What an inner step learns from: a network's inputs, their loss, and what is one sample of the attention."""

    @property
    def inputs(self) -> Tensor:
        """The network's inputs."""
        ...

    @property
    def samples(self) -> Samples:
        """How the inputs fall into samples of the attention."""
        ...

    @property
    def mean_return(self) -> float | None:
        """The mean return of the episodes, None for images."""
        ...

    def loss(self, network: NetworkIn, parameters: Parameters, outputs: Tensor) -> Tensor:
        """Return a mean over all positions of the samples, or over the samples."""
        ...


class LayerGradient(NamedTuple):
    """What the gradient of a layer's weights is the product of, and the scores gamma of the sides that are weighed."""

    inputs: Tensor  # gamma_fw * x_{l-1}
    at_output: Tensor  # gamma_bw * g(y_l)
    scores: dict[str, Tensor]


class InnerStep(NamedTuple):
    """The parameters after an inner step, and the channels' scores gamma that it weighed gradients by.

    ``scores`` have no history; by layer that the step updates and by side, ``forward`` or ``backward``.
    """

    parameters: Parameters
    scores: Scores


def inner_step(
    network: AnyNetwork,
    parameters: Parameters,
    method: Method,
    step: int,
    batch: SupportBatch[AnyNetwork],
    second_order: bool,
) -> InnerStep:
    """Take one inner step: w_l - g^k * alpha_l^k * gamma_l * dL/dw_l for every layer l that the method updates.

    p-Meta, eq. 14, with the factor g^k of the return gate. Of a layer with a context, phi is updated in place of w_l
    (CAVIA, eq. 3). Pruned weights stay zero, and weights of binary bases move with their coordinates.

    Args:
        network: The network.
        parameters: One task's meta-parameters.
        method: Which layers are updated, and how.
        step: The inner step k, from 0.
        batch: The support batch.
        second_order: Whether the inputs x_{l-1} and the gradients g(y_l) depend on ``parameters``; otherwise they
            count as constants.

    Returns:
        The meta-parameters after the step, differentiable with respect to ``parameters``, step sizes, gate and
        attention among them; and the channels' scores.
    """
    parameters = masked(parameters)
    gradients_at, direct = layer_gradients(network, parameters, method, step, batch, second_order)
    factor = gate_factor(parameters, step, batch.mean_return)
    adapted = dict(parameters)
    for index, layer in enumerate(network.layers):
        if layer.name not in gradients_at:
            continue
        step_size = factor * parameters[STEP_SIZES][step, index]
        inputs, at_output, _ = gradients_at[layer.name]
        gradients = layer.parameter_gradients(inputs, at_output)
        gradients |= {name: gradient for name, gradient in direct.items() if layer_of(name) == layer.name}
        if layer.context:
            matrix = parameters[layer.context_weight_name]
            gradients = layer.context_gradient(gradients, matrix if second_order else matrix.detach())
        for name, gradient in along_bases(gradients, parameters).items():
            adapted[name] = parameters[name] - step_size * gradient
    scores = {
        name: {side: gammas.detach() for side, gammas in gradient.scores.items()}
        for name, gradient in gradients_at.items()
    }
    return InnerStep(masked(adapted), scores)


def layer_gradients(
    network: AnyNetwork,
    parameters: Parameters,
    method: Method,
    step: int,
    batch: SupportBatch[AnyNetwork],
    second_order: bool,
) -> tuple[dict[str, LayerGradient], Parameters]:
    """Run one forward and one backward pass for the gradients of every layer that the method updates.

    Args:
        network: The network.
        parameters: One task's parameters.
        method: Which layers are updated, and what weighs their channels.
        step: The number of the inner step, from 0.
        batch: The support batch.
        second_order: Whether what is returned depends on ``parameters``.

    Returns:
        By layer, x_{l-1} and g(y_l), each times its sample's scores. Beside them the gradients of those parameters that
        the loss takes directly, such as a Gaussian's log_std.
    """
    updated = method.updated_layers(network.layers)
    if not updated:
        return {}, {}
    scores: Scores = {layer: {} for layer in network.layer_names}
    hooks: list[RemovableHandle] = []

    def weighed(layer: str, side: str, tensor: Tensor) -> Tensor:
        if layer == network.layer_names[-1]:
            return tensor
        gammas = channel_scores(parameters, method, layer, side, step, tensor, batch.samples)
        if gammas is None:
            return tensor
        scores[layer][side] = gammas
        return weigh_channels(tensor, gammas, batch.samples)

    def run_weighed(layer: str, operation: Operation, inputs: Tensor) -> LayerTrace:
        inputs = weighed(layer, "forward", inputs)
        output = operation(inputs)
        hooks.append(output.register_hook(partial(weighed, layer, "backward")))
        # The gradient is asked for at a view, to which the hook does not apply: there it is not weighed yet.
        return LayerTrace(inputs, output.view_as(output))

    weighs_activations = method.attention is not None and method.attention.weighs == "activations"
    outputs, trace = network(parameters, batch.inputs, run_weighed if weighs_activations else run_layer)
    loss = batch.loss(network, parameters, outputs)
    direct = [
        name for layer in network.layers if layer.name in updated and not layer.context for name in layer.extra_names
    ]
    wanted = [*(trace[layer].output for layer in updated), *(parameters[name] for name in direct)]
    gradients = torch.autograd.grad(loss, wanted, create_graph=second_order)
    for hook in hooks:
        hook.remove()  # the meta-gradient, too, passes through these outputs, and must not be weighed

    layers = {}
    for layer, at_output in zip(updated, gradients, strict=False):
        inputs = trace[layer].input if second_order else trace[layer].input.detach()
        if not weighs_activations:
            inputs = weighed(layer, "forward", inputs)
        layers[layer] = LayerGradient(inputs, weighed(layer, "backward", at_output), scores[layer])
    return layers, dict(zip(direct, gradients[len(updated) :], strict=True))


def channel_scores(
    parameters: Parameters, method: Method, layer: str, side: str, step: int, tensor: Tensor, samples: Samples
) -> Tensor | None:
    """Return the scores gamma of a layer's channels on one side.

    Args:
        parameters: One task's parameters.
        method: What weighs the channels.
        layer: The layer's name.
        side: ``forward`` for the input's channels, ``backward`` for the output's.
        step: The number of the inner step, from 0.
        tensor: The layer's input for the forward side, the gradient at its output for the backward side.
        samples: What is one sample of the attention.

    Returns:
        gamma [sample, channel] or, if the same for all samples, [channel]; None if the method weighs nothing there.
    """
    if method.channel_step_sizes:
        return parameters[f"{CHANNEL_STEP_SIZES}{layer}.{side}"][step]
    clip = method.attention.clips().get(side) if method.attention else None
    if clip is None:
        return None
    summary = summarize(tensor, samples, per_position=side == "backward")
    return attention_scores(parameters, layer, side, summary, clip, samples.together)


def as_leaves(parameters: Parameters, trained: tuple[str, ...] | None = None) -> Parameters:
    """Return copies without history that require gradients: those named in ``trained``, or all of them."""
    return {
        name: tensor.detach().requires_grad_(trained is None or name in trained) for name, tensor in parameters.items()
    }
