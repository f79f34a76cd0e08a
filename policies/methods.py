"""The meta-learning methods as rows of one table over one update rule.

For layer l and inner step k:  w_l <- w_l - alpha_l^k * (gamma_l * dL/dw_l)  (p-Meta, eqs. 1, 6 and 14).
A method states which layers the inner loop updates, where the step sizes alpha come from, and whether meta attention
weighs the channels by scores gamma, and how the outer loop moves. The ablations of p-Meta are further rows.

CAVIA updates no layer, but the context phi of the layer that takes one: phi <- phi - alpha * dL/dphi, from 0 for each
task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from metarl.core.errors import Refusal
from metarl.policies.attention import (
    ATTENTION_BOUND,
    PAPERS_MODULES,
    Attention,
    Modules,
    attention_shapes,
    initial_attention,
)
from metarl.policies.compression.bases import is_basis
from metarl.policies.compression.masks import is_mask
from metarl.policies.gate import GATE_STATISTICS
from metarl.policies.networks.layers import CONTEXT, Layer
from metarl.policies.networks.network import Parameters, layer_of
from metarl.policies.normalization import COUNT, MEAN, STD

STEP_SIZES = "step_sizes"
CHANNEL_STEP_SIZES = "channel_step_sizes."


@dataclass(frozen=True)
class Method:
    """One row of the table.

    ``layers`` says which layers the inner loop may update: all, the last, all but the last (the body), those that
    take a ``context``, of which it updates that alone, or none. Their step sizes are one fixed number or meta-learned
    per layer and step; ``sparse`` ones are pushed to exact zeros.
    ``attention`` acts on every layer but the last. ``channel_step_sizes`` replace it by numbers that are meta-learned
    per layer, step and input or output channel, the same for all samples (p-Meta, Table 4: alpha^Ch). The outer loop
    follows the meta-``gradient`` of the loss after adaptation, or moves ``towards`` the adapted parameters.
    ``observes_task`` tells the policy its task: observations end with the task's fields.
    """

    name: str
    layers: Literal["all", "last", "body", "context", "none"]
    step_sizes: Literal["fixed", "learned", "sparse"]
    attention: Attention | None
    source: str
    channel_step_sizes: bool = False
    observes_task: bool = False
    outer: Literal["gradient", "towards"] = "gradient"

    @property
    def adapts(self) -> bool:
        """Whether it has an inner loop that changes something."""
        return self.layers != "none"

    @property
    def takes_context(self) -> bool:
        """Whether its network has a layer that takes a context."""
        return self.layers == "context"

    @property
    def least_steps(self) -> int:
        """The least number of inner steps: after one, the move towards is a training on all tasks together."""
        return 2 if self.outer == "towards" else 1

    def updated_layers(self, layers: Sequence[Layer]) -> tuple[str, ...]:
        """Return the names of those of a network's ``layers`` that the inner loop updates."""
        with_context = [layer for layer in layers if layer.context]
        chosen = {"all": layers, "last": layers[-1:], "body": layers[:-1], "context": with_context, "none": ()}
        return tuple(layer.name for layer in chosen[self.layers] if layer.adaptable)


METHODS = {
    method.name: method
    for method in (
        Method("maml", "all", "fixed", None, "Finn et al., ICML 2017"),
        Method("anil", "last", "fixed", None, "Raghu et al., ICLR 2020"),
        Method("boil", "body", "fixed", None, "Oh et al., ICLR 2021"),
        Method("maml++", "all", "learned", None, "Antoniou et al., ICLR 2019"),
        Method("p-meta-layers", "all", "sparse", None, "Qu et al., KDD 2022, Sec. 3.2"),
        Method("p-meta", "all", "sparse", Attention(), "Qu et al., KDD 2022, Sec. 3.2 and 3.3"),
        Method("cavia", "context", "fixed", None, "Zintgraf et al., ICML 2019"),
        Method("reptile", "all", "fixed", None, "Nichol et al., 2018", outer="towards"),
    )
}

# What the others are compared with: policies that do not adapt, trained by the same outer step on as many time steps.
# One is told nothing of its task, the other all of it.
REFERENCES = {
    method.name: method
    for method in (
        Method("no-adaptation", "none", "fixed", None, "for comparison"),
        Method("oracle", "none", "fixed", None, "for comparison", observes_task=True),
    )
}

# p-Meta with other clip ratios of the forward (fw) and backward (bw) scores, with attention on one side alone, or with
# attention that weighs the activations x_{l-1} (x) or g(y_l) (gy).
ABLATIONS = {
    method.name: method
    for method in (
        *(
            Method(f"p-meta-{name}", "all", "sparse", attention, f"Qu et al., KDD 2022, {table}")
            for name, attention, table in (
                ("fw0", Attention(0.0, None), "Table 4"),
                ("bw0", Attention(None, 0.0), "Table 4"),
                ("fw0-bw0", Attention(0.0, 0.0), "Table 4"),
                ("fw0-bw0.3", Attention(0.0, 0.3), "Table 4"),
                ("fw0.3-bw0.3", Attention(0.3, 0.3), "Table 4"),
                ("fw0.5-bw0.5", Attention(0.5, 0.5), "Table 4"),
                ("fw0.3", Attention(0.3, None), "Table 7"),
                ("x0.3", Attention(0.3, None, "activations"), "Table 7"),
                ("bw0.3", Attention(None, 0.3), "Table 7"),
                ("gy0.3", Attention(None, 0.3, "activations"), "Table 7"),
            )
        ),
        Method("p-meta-alpha-ch", "all", "sparse", None, "Qu et al., KDD 2022, Table 4", channel_step_sizes=True),
    )
}


def get_method(name: str) -> Method:
    """Return the method, reference or ablation of that name; raise ValueError with the known ones if there is none."""
    known = METHODS | REFERENCES | ABLATIONS
    if name not in known:
        raise Refusal(f"unknown method '{name}': choose one of {', '.join((*METHODS, *REFERENCES))}")
    return known[name]


def check_context(method: Method, layers: Sequence[Layer]) -> None:
    """Raise Refusal unless a layer takes a context just where the method adapts one."""
    taking = any(layer.context for layer in layers)
    if method.takes_context and not taking:
        raise Refusal(f"{method.name} adapts a context, and no layer of this network takes one: its context size is 0")
    if taking and not method.takes_context:
        raise Refusal(f"{method.name} adapts layers, and this network takes a context, which only cavia adapts")


def check_on_device(method: Method) -> None:
    """Raise ValueError for a reference, which has no step, and for an ablation that does more than weigh gradients."""
    if not method.adapts:
        raise Refusal(f"the controller cannot be adapted: {method.name} is a reference that updates no layer")
    if method.channel_step_sizes or (method.attention and method.attention.weighs == "activations"):
        raise Refusal(f"the controller cannot be adapted on a device: {method.name} is for comparison only")


def initial_meta_parameters(
    method: Method,
    layers: Sequence[Layer],
    inner_steps: int,
    step_size: float,
    generator: torch.Generator,
    modules: Modules = PAPERS_MODULES,
) -> Parameters:
    """Return what a method meta-learns or fixes beside the network's own parameters: step sizes and attention modules.

    Args:
        method: the method.
        layers: the network's layers, in order.
        inner_steps: K, the steps of the inner loop.
        step_size: alpha at the start of each layer that the method updates.
        generator: the source of the attention modules' weights.
        modules: how the attention modules are made.

    Returns:
        The parameters by name: ``step_sizes`` [inner step, layer], and what the method's attention or channel step
        sizes need.
    """
    parameters = {STEP_SIZES: initial_step_sizes(method, layers, inner_steps, step_size)}
    if method.attention is not None:
        parameters |= initial_attention(method.attention, layers[:-1], generator, modules)
    if method.channel_step_sizes:
        shapes = channel_step_size_shapes(layers[:-1], inner_steps)
        parameters |= {name: torch.ones(shape) for name, shape in shapes.items()}
    return parameters


def meta_parameter_shapes(
    method: Method, layers: Sequence[Layer], inner_steps: int, modules: Modules = PAPERS_MODULES
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of what ``initial_meta_parameters`` returns, by name.

    Args:
        method: the method.
        layers: the network's layers, in order.
        inner_steps: K, the steps of the inner loop.
        modules: how the attention modules are made.
    """
    shapes: dict[str, tuple[int, ...]] = {STEP_SIZES: (inner_steps, len(layers))}
    if method.attention is not None:
        shapes |= attention_shapes(layers[:-1], tuple(method.attention.clips()), modules.rank)
        shapes |= {ATTENTION_BOUND: ()} if modules.bound is not None else {}
    if method.channel_step_sizes:
        shapes |= channel_step_size_shapes(layers[:-1], inner_steps)
    return shapes


def channel_step_size_shapes(layers: Sequence[Layer], inner_steps: int) -> dict[str, tuple[int, int]]:
    """Return the shapes [inner step, channel] of alpha^Ch for the inputs and outputs of each of ``layers``."""
    return {
        f"{CHANNEL_STEP_SIZES}{layer.name}.{side}": (inner_steps, channels)
        for layer in layers
        for side, channels in (("forward", layer.inputs), ("backward", layer.outputs))
    }


def initial_step_sizes(method: Method, layers: Sequence[Layer], inner_steps: int, step_size: float) -> Tensor:
    """Return alpha [inner step, layer]: ``step_size`` for the layers that the method updates, exactly 0 for others.

    Args:
        method: the method.
        layers: the network's layers, in order.
        inner_steps: K, the steps of the inner loop.
        step_size: alpha of the updated layers.

    Returns:
        The step sizes [inner step, layer].
    """
    updated = method.updated_layers(layers)
    row = torch.tensor([step_size if layer.name in updated else 0.0 for layer in layers])
    return row.repeat(inner_steps, 1)


def trained_names(method: Method, parameters: Parameters) -> tuple[str, ...]:
    """Return the names of the meta-parameters that the outer loop trains: all but statistics, contexts, masks,
    bases and step sizes that the method fixes.

    They are sorted, so that sums over them round alike wherever the parameters come from.
    """
    fixed = {ATTENTION_BOUND, GATE_STATISTICS, MEAN, STD, COUNT} | (
        {STEP_SIZES} if method.step_sizes == "fixed" else set()
    )
    return tuple(
        name
        for name in sorted(parameters)
        if name not in fixed and not (is_context(name) or is_mask(name) or is_basis(name))
    )


def is_context(parameter: str) -> bool:
    """Return whether a parameter is a layer's phi, which starts at zero for every task."""
    return parameter.rpartition(".")[2] == CONTEXT


def without_context(parameters: Parameters) -> Parameters:
    """Return the parameters with every phi back at zero, as they are before the first inner step of a task."""
    return {name: torch.zeros_like(each) if is_context(name) else each for name, each in parameters.items()}


def policy_parameters(parameters: Parameters, layer_names: tuple[str, ...]) -> Parameters:
    """Return the network's own parameters among the meta-parameters."""
    return {name: tensor for name, tensor in parameters.items() if layer_of(name) in layer_names}


def shrink_step_sizes(step_sizes: Tensor, thresholds: Tensor) -> Tensor:
    """Take the proximal step of the Lasso on alpha [inner step, layer] >= 0: subtract ``thresholds``, down to zero.

    The thresholds are [layer], or [inner step, layer] where steps differ. A subgradient step would hover around zero;
    this one lands on it (p-Meta, eq. 9).
    """
    return (step_sizes - thresholds).clamp_min(0)
