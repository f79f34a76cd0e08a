"""The table of all networks, by the kind that a controller's file names."""

from __future__ import annotations

from typing import Any

from metarl.core.errors import Refusal
from metarl.policies.networks.conv4 import Conv4
from metarl.policies.networks.integers import IntegerMLP
from metarl.policies.networks.mlp import CategoricalMLP, GaussianMLP
from metarl.policies.networks.network import Network
from metarl.policies.networks.resnet12 import ResNet12

NETWORKS: dict[str, type[Any]] = {
    "gaussian-mlp": GaussianMLP,
    "categorical-mlp": CategoricalMLP,
    "int8-mlp": IntegerMLP,
    "conv4": Conv4,
    "resnet12": ResNet12,
}


def kind_of(network: Network) -> str:
    """Return the kind of a network, e.g. ``conv4``; raise Refusal if the table has no row for it."""
    for kind, network_class in NETWORKS.items():
        if type(network) is network_class:
            return kind
    raise Refusal(f"a network must be a row of NETWORKS to have a kind, and {type(network).__name__} is none")


def backbones() -> tuple[str, ...]:
    """Return the kinds of the networks that take images."""
    return tuple(kind for kind, network_class in NETWORKS.items() if network_class.takes == "images")
