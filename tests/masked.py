"""Random masks for the parameters of any network, and what must hold of pruned weights."""

from __future__ import annotations

import torch

from metarl.policies.compression.masks import MASK, masked, weight_names
from metarl.policies.networks.network import Network, Parameters


def pruned(parameters: Parameters, network: Network, share: float = 0.6, seed: int = 0) -> Parameters:
    """The parameters with random masks."""
    random = torch.Generator().manual_seed(seed)
    masks = {name: torch.rand(parameters[name].shape, generator=random) > share for name in weight_names(network)}
    return masked(parameters | {name + MASK: mask.float() for name, mask in masks.items()})


def assert_zero_where_pruned(parameters: Parameters, network: Network) -> None:
    for name in weight_names(network):
        outside = parameters[name][parameters[name + MASK] == 0]
        assert not outside.any()
        assert not outside.signbit().any()
