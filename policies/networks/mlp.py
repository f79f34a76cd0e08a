"""The Gaussian multi-layer perceptron: the policy network of Finn et al. (2017) and p-Meta (Sec. 4.3)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Annotated

from pydantic import Field, with_config
from torch import Tensor

from metarl.core.validation import STRICT, Finite, Size, validate_fields
from metarl.policies.networks.kinds import ContextSize
from metarl.policies.networks.layers import ExtraParameter, Layer
from metarl.policies.networks.network import Network, Parameters


@with_config(STRICT)
@dataclass(frozen=True)
class GaussianMLP(Network):
    """Linear layers with ReLU between them; the output [..., sample, action] is the mean action of a diagonal Gaussian.

    The log standard deviation does not depend on the observation. It is a parameter of the last layer, so whatever
    updates that layer updates it too. The first layer takes a context of ``context_size`` parameters, as in CAVIA, or
    none. Raise ValueError for a size that is not allowed.
    """

    takes = "observations"

    observation_size: Size
    hidden_sizes: tuple[Size, ...]
    action_size: Size
    initial_std: Annotated[Finite, Field(gt=0)] = 1.0
    context_size: ContextSize = 0

    def __post_init__(self) -> None:
        validate_fields(self)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The widths of the input and of every layer's output."""
        return (self.observation_size, *self.hidden_sizes, self.action_size)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The layers ``layer1``, ``layer2``, ... from the observation to the mean action."""
        *hidden, last = enumerate(pairwise(self.sizes), start=1)
        log_std = ExtraParameter("log_std", (self.action_size,), math.log(self.initial_std))
        first, *others = (
            *(Layer(f"layer{number}", "linear", *channels, activation="relu") for number, channels in hidden),
            Layer(f"layer{last[0]}", "linear", *last[1], extra=(log_std,)),
        )
        return (replace(first, context=self.context_size), *others)

    def log_std(self, parameters: Parameters) -> Tensor:
        """Return the log standard deviation [..., action]."""
        return parameters[f"{self.layer_names[-1]}.log_std"]
