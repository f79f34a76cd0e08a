"""Multi-layer perceptrons as policies: the network of Finn et al. (2017) and p-Meta (Sec. 4.3).

Actions are vectors of a diagonal Gaussian, or one of several choices.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from statistics import fmean
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, with_config
from torch import Tensor

from metarl.core.validation import STRICT, Finite, Size, validate_fields
from metarl.policies.networks.distributions import Categorical, Distribution, Gaussian
from metarl.policies.networks.kinds import Activation, ContextSize
from metarl.policies.networks.layers import ExtraParameter, Layer
from metarl.policies.networks.network import Network, Parameters


@with_config(STRICT)
@dataclass(frozen=True)
class GaussianMLP(Network):
    """Linear layers with ReLU or tanh between them; the output [..., sample, action] is the mean of a Gaussian.

    The log standard deviation does not depend on the observation. It is a parameter of the last layer, so whatever
    updates that layer updates it too. The first layer takes a context of ``context_size`` parameters, as in CAVIA, or
    none. Raise ValueError for a size that is not allowed.
    """

    takes = "observations"
    distribution_type = Gaussian
    spread_name = "action_std"

    observation_size: Size
    hidden_sizes: tuple[Size, ...]
    action_size: Size
    initial_std: Annotated[Finite, Field(gt=0)] = 1.0
    context_size: ContextSize = 0
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        validate_fields(self)

    @property
    def choices(self) -> None:
        """None, for actions are vectors."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """The widths of the input and of every layer's output."""
        return (self.observation_size, *self.hidden_sizes, self.action_size)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The layers ``layer1``, ``layer2``, ... from the observation to the mean action."""
        log_std = ExtraParameter("log_std", (self.action_size,), math.log(self.initial_std))
        return linear_layers(self.sizes, self.context_size, self.activation, log_std)

    def log_std(self, parameters: Parameters) -> Tensor:
        """Return the log standard deviation [..., action]."""
        return parameters[f"{self.layer_names[-1]}.log_std"]

    def distribution(self, parameters: Parameters, outputs: Tensor) -> Distribution:
        """Return the distribution of the actions where the network's output is ``outputs`` [..., sample, action]."""
        return Gaussian(outputs, self.log_std(parameters))

    def spread(self, parameters: Parameters, observations: Iterable[Tensor]) -> float:
        """Return the mean standard deviation of the actions, the same for all observations."""
        return float(self.log_std(parameters).exp().mean())

    def random_actions(self, generator: np.random.Generator, count: int) -> NDArray[np.float32]:
        """Return standard normal actions [count, action]."""
        return generator.standard_normal((count, self.action_size), np.float32)


@with_config(STRICT)
@dataclass(frozen=True)
class CategoricalMLP(Network):
    """Linear layers with ReLU or tanh between them; the output [..., sample, choice] are the logits of ``choices``.

    An action is the number of a choice. The first layer takes a context as that of ``GaussianMLP`` does. Raise
    ValueError for a size that is not allowed.
    """

    takes = "observations"
    distribution_type = Categorical
    spread_name = "action_entropy"

    observation_size: Size
    hidden_sizes: tuple[Size, ...]
    choices: Annotated[int, Field(ge=2)]
    context_size: ContextSize = 0
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        validate_fields(self)

    @property
    def action_size(self) -> int:
        """The numbers of an action: that of its choice."""
        return 1

    @property
    def sizes(self) -> tuple[int, ...]:
        """The widths of the input and of every layer's output."""
        return (self.observation_size, *self.hidden_sizes, self.choices)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The layers ``layer1``, ``layer2``, ... from the observation to the logits."""
        return linear_layers(self.sizes, self.context_size, self.activation)

    def distribution(self, parameters: Parameters, outputs: Tensor) -> Distribution:
        """Return the distribution of the actions where the network's output is ``outputs`` [..., sample, choice]."""
        return Categorical(outputs)

    @torch.no_grad()
    def spread(self, parameters: Parameters, observations: Iterable[Tensor]) -> float:
        """Return the mean entropy in nats over batches of observations [sample, observation]."""
        return fmean(float(Categorical(self(parameters, batch)[0]).entropy().mean()) for batch in observations)

    def random_actions(self, generator: np.random.Generator, count: int) -> NDArray[np.float32]:
        """Return actions [count, 1] of which each is as likely as any other."""
        return generator.integers(self.choices, size=(count, 1)).astype(np.float32)


PolicyNetwork = GaussianMLP | CategoricalMLP


def linear_layers(
    sizes: tuple[int, ...], context_size: int, activation: Activation, *extra: ExtraParameter
) -> tuple[Layer, ...]:
    """Return linear layers of these widths with an activation between them; the last has the ``extra`` parameters."""
    *hidden, last = enumerate(pairwise(sizes), start=1)
    first, *others = (
        *(Layer(f"layer{number}", "linear", *channels, activation=activation) for number, channels in hidden),
        Layer(f"layer{last[0]}", "linear", *last[1], extra=extra),
    )
    return (replace(first, context=context_size), *others)
