"""What a network costs on a device: memory, and operations (p-Meta, Qu et al., KDD 2022, Sec. 2 and Appendix A).

Memory is the peak of the moments in ``memory``. Operations are multiply-accumulates (eq. 18): m(w) per position
forward, again for the gradient that is passed to the input, and mu_fw * mu_bw * m(w) for the weight gradient, for every
layer from the first updated one on. The paper contradicts itself on whether that first one passes on a gradient: it
does not in the text of Sec. A.2, which the image tables follow, but it does in eq. 18, which the tables' MLP rows
follow. Hence a linear layer is charged for it and a convolution is not.

The paper leaves open what to count outside of matrix products (under 5 % of 4Conv's total, 1 % of ResNet12's). These
counts are fitted to the totals of Tables 1 and 2 and give all of them; other counts may, too. Per element of a group
norm 4 forward (mean, square, normalize, scale), and backward 2 for its parameters and 2 for its input; 1 per output of
a LeakyReLU, a tanh, a residual sum or a max-pooling, and per element of a mean over positions (average-pooling among
them).
Selecting by bits (ReLU, and the backward pass of activations and poolings) costs nothing; nor do biases.

The paper's batches hold whole episodes, which attention scores in the same pass. Where batches are smaller, an
episode's scores need a pass of their own over all of its batches first: forward and, for the backward modules, back to
the first of their layers' outputs without weight gradients. It is counted as the on-device step runs it, without
eq. 18's extra product.

A context (CAVIA) is added to the vectors that it modulates once per step, and so is its gradient taken from theirs: the
matrix of the context counts twice per step and not per observation. No linear layer that is updated by its context is
charged for eq. 18's extra product, nor for a weight gradient.

Table 2's rows of MAML, ANIL, BOIL and MAML++ come out to the printed digit, with operations per inner step on the whole
support set, one image at a time; but for ResNet12's 54.69 MB with MAML and MAML++ (see ``memory``). The rows of
p-Meta are means over five inner steps, whose layers and channels are not published. No layers of 4Conv that all steps
share give its row without attention, neither for 1 nor for 5 shots; 1.00 MB for 1 shot is not even a peak of any. Many
choices that differ from step to step do: for 1 shot, conv3, conv4 and fc in three steps, conv2 besides in a fourth and
nothing in the fifth, with the memory as the mean over the steps that update something.

Pruned weights take no part in any product, but in the weight gradient of a layer whose input channels attention
chooses: there it is computed for whole channels.

One cell of Table 3 is out of reach: 2D navigation, layers 1 and 3, gives 0.0848 GMAC where 0.09 is printed. MAML there
costs 0.04 more, the weight gradient of the 100x100 layer; as it rounds to the printed 0.12, this one rounds to 0.08.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from metarl.core.errors import Refusal
from metarl.cost.memory import (
    LayerMemory,
    LayerUpdate,
    Moment,
    Plan,
    Workload,
    adaptation_moments,
    first_updated,
    inference_moments,
    layer_memories,
    peak,
)
from metarl.policies.attention import SIDES, Side
from metarl.policies.networks.layers import Layer
from metarl.policies.networks.sizes import WORD_BYTES


@dataclass(frozen=True)
class LayerCost:
    """One layer's part in a step: bytes per batch, multiply-accumulates over all observations."""

    name: str
    updated: bool
    parameter_bytes: int
    stored_input_bytes: int
    bit_bytes: int
    weight_gradient_bytes: int
    forward_macs: int
    input_gradient_macs: int
    weight_gradient_macs: int
    attention_macs: int  # the modules, and the means over an episode or over positions that they take
    scoring_macs: int  # the extra pass for the scores of episodes larger than a batch

    @property
    def adaptation_macs(self) -> int:
        """All multiply-accumulates of the step."""
        return (
            self.forward_macs
            + self.input_gradient_macs
            + self.weight_gradient_macs
            + self.attention_macs
            + self.scoring_macs
        )


@dataclass(frozen=True)
class StepCost:
    """One inner step, moment by moment and layer by layer; a step that updates nothing is skipped and costs nothing."""

    layers: tuple[LayerCost, ...]
    timeline: tuple[Moment, ...]

    @property
    def peak(self) -> Moment:
        """The moment at which most is alive (the last of equals)."""
        return peak(self.timeline)

    @property
    def macs(self) -> int:
        """The multiply-accumulates of all layers."""
        return sum(layer.adaptation_macs for layer in self.layers)


@dataclass(frozen=True)
class Cost:
    """The cost of a network on a device.

    ``static_bytes`` are all weights and biases, ``attention_bytes`` those of the attention modules beside them.
    ``peak_inference_bytes`` are for one batch, ``inference_macs`` for all observations of a step.
    """

    static_bytes: int
    attention_bytes: int
    peak_inference_bytes: int
    inference_macs: int
    steps: tuple[StepCost, ...]

    @property
    def peak_step(self) -> StepCost:
        """The inner step that takes the most memory."""
        return max(self.steps, key=lambda step: step.peak.bytes)

    @property
    def peak_adaptation_bytes(self) -> int:
        """The most bytes alive in any inner step."""
        return self.peak_step.peak.bytes

    @property
    def adaptation_macs(self) -> int:
        """The mean over the inner steps, as the paper's tables count."""
        return self.total_adaptation_macs // len(self.steps)

    @property
    def total_adaptation_macs(self) -> int:
        """The sum over the inner steps."""
        return sum(step.macs for step in self.steps)


def plan_updates(
    layers: Sequence[Layer],
    names: Sequence[str],
    mu_fw: float = 1.0,
    mu_bw: float = 1.0,
    attention: tuple[Side, ...] = (),
) -> Plan:
    """Return the plan that updates some layers with the same shares and attention modules.

    Attention never acts on the network's last layer (p-Meta, Sec. 4.1), whose shares are 1 then.

    Args:
        layers: the network's layers.
        names: the layers to update.
        mu_fw: the share of input channels that is kept.
        mu_bw: the share of output channels that is kept.
        attention: the attention modules that run.

    Returns:
        The updates by layer name.
    """
    attended = LayerUpdate(mu_fw, mu_bw, attention)
    return {name: LayerUpdate() if attention and name == layers[-1].name else attended for name in names}


def sample_bytes(layers: Sequence[Layer], observations: int, value_bytes: int = WORD_BYTES) -> int:
    """Return the bytes of a network's input for some observations (``value_bytes`` = 1 for 8-bit images)."""
    return layers[0].input_words * observations * value_bytes


def cost(layers: Sequence[Layer], steps: Sequence[Plan], workload: Workload) -> Cost:
    """Return the cost of inference and of ``steps``, one plan per inner step, each on a workload of fresh data.

    Raise ValueError for a plan that names a layer the network does not have, and without any step.
    """
    names = [layer.name for layer in layers]
    if not steps:
        raise Refusal("an adaptation has at least one inner step, got none")
    for name in (name for plan in steps for name in plan):
        if name not in names:
            raise Refusal(f"unknown layer '{name}': this network has {', '.join(names)}")
    updates = [(name, update) for plan in steps for name, update in plan.items()]
    modules = {(name, side, update.rank) for name, update in updates for side in update.attention}
    by_name = {layer.name: layer for layer in layers}
    return Cost(
        static_bytes=sum(layer.parameter_bytes for layer in layers),
        attention_bytes=WORD_BYTES * sum(_module_parameters(by_name[name], side, rank) for name, side, rank in modules),
        peak_inference_bytes=peak(inference_moments(layers, workload)).bytes,
        inference_macs=workload.observations * sum(forward_macs(layer) for layer in layers),
        steps=tuple(_step_cost(layers, plan, workload) for plan in steps),
    )


def _step_cost(layers: Sequence[Layer], plan: Plan, workload: Workload) -> StepCost:
    memories, first = layer_memories(layers, plan, workload), first_updated(layers, plan)
    scoring = _scoring_macs(layers, plan, workload)
    costs = (
        _layer_cost(layer, memory, plan.get(layer.name), workload, index - first, scoring[index])
        for index, (layer, memory) in enumerate(zip(layers, memories, strict=True))
    )
    return StepCost(tuple(costs) if plan else (), adaptation_moments(layers, plan, workload))


def _layer_cost(
    layer: Layer, memory: LayerMemory, update: LayerUpdate | None, workload: Workload, place: int, scoring: int
) -> LayerCost:
    """Return one layer's cost; ``place`` counts the layers from the first updated one, negative before it."""
    product = workload.observations * _product(layer)
    passes_gradient = place >= 0 if layer.kind == "linear" and not layer.context else place > 0
    share = update.mu_fw * update.mu_bw if update else 0.0
    modules, rank = (update.attention, update.rank) if update else ((), None)
    gradient = round(workload.observations * _product(layer, dense=bool(update and update.chooses_inputs)) * share)
    return LayerCost(
        name=layer.name,
        updated=update is not None,
        parameter_bytes=layer.parameter_bytes,
        stored_input_bytes=memory.stored_input,
        bit_bytes=memory.bits + memory.kept_output,
        weight_gradient_bytes=memory.weight_gradient,
        forward_macs=workload.observations * forward_macs(layer),
        input_gradient_macs=product if passes_gradient else 0,
        weight_gradient_macs=(gradient if layer.needs_input else 0) + _context_macs(layer, update),
        attention_macs=sum(_module_macs(layer, side, rank, workload) for side in modules),
        scoring_macs=scoring,
    )


def _context_macs(layer: Layer, update: LayerUpdate | None) -> int:
    """Return the operations from the gradients of the vectors to that of the context, and back to their change."""
    return 2 * layer.context * layer.modulated_words if update else 0


def _scoring_macs(layers: Sequence[Layer], plan: Plan, workload: Workload) -> list[int]:
    """Return each layer's operations in the pass for the scores of episodes larger than a batch; 0 without one."""
    forward, backward = (
        [index for index, layer in enumerate(layers) if layer.name in plan and side in plan[layer.name].attention]
        for side in SIDES
    )
    if not forward + backward or workload.batch >= workload.horizon:
        return [0] * len(layers)
    first = min(backward, default=len(layers))
    return [
        workload.observations * (forward_macs(layer) + (_product(layer) if index > first else 0))
        for index, layer in enumerate(layers)
    ]


def _product(layer: Layer, dense: bool = False) -> int:
    """Return the multiply-accumulates of one observation's gradient at a layer's input, or at its weights.

    Pruned weights are left out, unless the product is ``dense``.
    """
    weights = layer.weights if dense else layer.products
    return 2 * layer.input_words if layer.is_norm else layer.positions * weights


def forward_macs(layer: Layer) -> int:
    """Return the multiply-accumulates of one observation's forward pass through a layer and what follows it."""
    product = 4 * layer.input_words if layer.is_norm else layer.positions * layer.products
    averaged = layer.input_words * layer.averaged_positions if layer.averaged_positions > 1 else 0
    slopes = layer.output_words if layer.activation in ("leaky_relu", "tanh") else 0
    added = layer.output_words if layer.residual == "join" else 0
    pooled = layer.pooled_words * (1 if layer.pooling == "max" else 4)
    return product + averaged + slopes + added + pooled


def _module_parameters(layer: Layer, side: Side, rank: int | None) -> int:
    """Return the numbers in a module's two linear layers with biases."""
    channels, hidden = _module_sizes(layer, side, rank)
    return 2 * channels * hidden + channels + hidden


def _module_macs(layer: Layer, side: Side, rank: int | None, workload: Workload) -> int:
    """Return the operations of the means that a module takes, and of its two linear layers once per episode."""
    words = layer.input_words if side == "forward" else layer.output_words
    return workload.observations * words + workload.episodes * 2 * math.prod(_module_sizes(layer, side, rank))


def _module_sizes(layer: Layer, side: Side, rank: int | None) -> tuple[int, int]:
    """Return the channels and the hidden units of a module."""
    channels = layer.inputs if side == "forward" else layer.outputs
    return channels, min(rank or channels, channels)
