"""Clients that fit a small network to points of their own: a federation without images and without a simulator."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarl.core.intervals import Interval
from metarl.fleet.federated.client import LocalGradient
from metarl.fleet.federated.layerwise import layerwise_gradients
from metarl.fleet.federated.settings import FederationSettings
from metarl.fleet.federated.weights import ClientWeights, Layout, layout_of
from metarl.policies.controller import Controller
from metarl.policies.loading import load_controller
from metarl.policies.networks.mlp import GaussianMLP
from metarl.policies.networks.network import Parameters


def begun() -> Controller:
    """A controller that ships; only its network and its numbers matter here."""
    return load_controller("navigation-2d/maml")


@dataclass(frozen=True)
class Fitting:
    """Each client has points x and y = sin(x), as many as its number says."""

    clients: int = 6
    points: int = 5
    controller: Controller = field(default_factory=begun)

    @property
    def network(self) -> GaussianMLP:
        assert isinstance(self.controller.network, GaussianMLP)
        return self.controller.network

    @property
    def trained(self) -> tuple[str, ...]:
        return tuple(sorted(name for name in self.network.parameter_shapes if not name.endswith("log_std")))

    @property
    def scored(self) -> int:
        return 2

    def data(self, client: int) -> tuple[Tensor, Tensor]:
        random = torch.Generator().manual_seed(client)
        inputs = torch.randn(self.points, 2, generator=random)
        return inputs, inputs.sin()

    def start(self) -> Parameters:
        return self.controller.parameters

    def gradient(self, client: int, weights: ClientWeights, random: np.random.Generator) -> LocalGradient:
        inputs, wanted = self.data(client)
        gradients, _ = layerwise_gradients(self.network, weights, inputs, 32, lambda outputs: loss(outputs, wanted))
        return LocalGradient(gradients, self.points, float(client))

    def score(self, weights: ClientWeights) -> Interval:
        return Interval(float(weights.parameters()["layer1.weight"].mean()), 0.0)

    def about(self) -> dict[str, Any]:
        return {"family": "fitting", "clients": self.clients}

    def deployed(self, weights: ClientWeights, record: dict[str, Any]) -> Controller:
        return Controller(weights.parameters(), self.network, self.controller.metadata)


def loss(outputs: Tensor, wanted: Tensor) -> Tensor:
    return (outputs - wanted).square().mean()


def layout(population: Fitting, bits: int) -> Layout:
    return layout_of(population.network, population.start(), population.trained, bits)


def settings(**overrides: Any) -> FederationSettings:
    """All six clients in each of a few rounds."""
    return FederationSettings(**{"clients": 6, "per_round": 6, "rounds": 3, "score_every": 2, **overrides})
