"""The meta-learning methods as rows of one table over one update rule.

For layer l and inner step k:  w_l <- w_l - alpha_l^k * gradient of the loss with respect to w_l  (p-Meta, eqs. 1 and 6).
A method says which layers are updated and where the step sizes alpha come from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from metarl.policies.network import Parameters, layer_of

STEP_SIZES = "step_sizes"


@dataclass(frozen=True)
class Method:
    """One row: the layers that the inner loop updates, and whether their step sizes are fixed or meta-learned."""

    name: str
    layers: Literal["all", "last", "body"]
    step_sizes: Literal["fixed", "learned"]
    source: str

    def updated_layers(self, layer_names: tuple[str, ...]) -> tuple[str, ...]:
        """The layers, of all those of a network, that the inner loop updates."""
        return {"all": layer_names, "last": layer_names[-1:], "body": layer_names[:-1]}[self.layers]


METHODS = {
    method.name: method
    for method in (
        Method("maml", "all", "fixed", "Finn et al., ICML 2017"),
        Method("anil", "last", "fixed", "Raghu et al., ICLR 2020"),
        Method("boil", "body", "fixed", "Oh et al., ICLR 2021"),
        Method("maml++", "all", "learned", "Antoniou et al., ICLR 2019"),
    )
}


def get_method(name: str) -> Method:
    """The method of that name; ValueError lists the known ones."""
    if name not in METHODS:
        raise ValueError(f"unknown method '{name}': choose one of {', '.join(METHODS)}")
    return METHODS[name]


def initial_step_sizes(method: Method, layer_names: tuple[str, ...], inner_steps: int, step_size: float) -> Tensor:
    """alpha [inner step, layer]: ``step_size`` for the layers that the method updates, exactly zero for the others."""
    updated = method.updated_layers(layer_names)
    row = torch.tensor([step_size if name in updated else 0.0 for name in layer_names])
    return row.repeat(inner_steps, 1)


def trained_names(method: Method, parameters: Parameters) -> tuple[str, ...]:
    """The meta-parameters that the outer loop trains: all of them, but not step sizes that the method fixes.

    Sorted, so that sums over them round alike wherever the parameters come from.
    """
    return tuple(name for name in sorted(parameters) if name != STEP_SIZES or method.step_sizes == "learned")


def policy_parameters(parameters: Parameters, layer_names: tuple[str, ...]) -> Parameters:
    """The network's own parameters among the meta-parameters."""
    return {name: tensor for name, tensor in parameters.items() if layer_of(name) in layer_names}
