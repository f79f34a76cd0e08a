"""The Gaussian multi-layer perceptron: the policy network of Finn et al. (2017) and p-Meta (Sec. 4.3)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from metarl.policies.networks.layers import fully_connected, xavier_uniform
from metarl.policies.networks.network import Parameters, RunLayer, Trace, run_layer


@dataclass(frozen=True)
class GaussianMLP:
    """Fully-connected layers with ReLU between them; the output is the mean action of a diagonal Gaussian.

    The log standard deviation does not depend on the observation. It is a parameter of the last layer, so whatever
    updates that layer updates it too.
    """

    observation_size: int
    hidden_sizes: tuple[int, ...]
    action_size: int
    initial_std: float = 1.0

    @property
    def sizes(self) -> tuple[int, ...]:
        return (self.observation_size, *self.hidden_sizes, self.action_size)

    @property
    def layer_names(self) -> tuple[str, ...]:
        return tuple(f"layer{number}" for number in range(1, len(self.sizes)))

    @property
    def channels(self) -> dict[str, tuple[int, int]]:
        """The input and output size of every layer, by name and in order."""
        return dict(zip(self.layer_names, pairwise(self.sizes), strict=True))

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter, in the order of the layers."""
        shapes: dict[str, tuple[int, ...]] = {}
        for name, (inputs, outputs) in self.channels.items():
            shapes[f"{name}.weight"] = (outputs, inputs)
            shapes[f"{name}.bias"] = (outputs,)
        shapes[f"{self.layer_names[-1]}.log_std"] = (self.action_size,)
        return shapes

    def initial_parameters(self, generator: torch.Generator) -> Parameters:
        """Xavier-uniform weights, zero biases, the initial log standard deviation."""
        parameters: Parameters = {}
        for name, (inputs, outputs) in self.channels.items():
            parameters[f"{name}.weight"] = xavier_uniform((outputs, inputs), generator)
            parameters[f"{name}.bias"] = torch.zeros(outputs)
        parameters[f"{self.layer_names[-1]}.log_std"] = torch.full((self.action_size,), math.log(self.initial_std))
        return parameters

    def __call__(self, parameters: Parameters, inputs: Tensor, run: RunLayer = run_layer) -> tuple[Tensor, Trace]:
        """The mean actions [..., sample, action] for observations [..., sample, observation].

        With a leading task axis in the parameters, e.g. weights [task, output, input], the inputs carry it too.
        """
        trace: Trace = {}
        hidden = inputs
        for name in self.layer_names:
            weight, bias = parameters[f"{name}.weight"], parameters[f"{name}.bias"]
            trace[name] = run(name, partial(fully_connected, weight=weight, bias=bias), hidden)
            hidden = torch.relu(trace[name].output)
        return trace[self.layer_names[-1]].output, trace

    def log_std(self, parameters: Parameters) -> Tensor:
        """The log standard deviation [..., action]."""
        return parameters[f"{self.layer_names[-1]}.log_std"]
