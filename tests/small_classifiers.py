"""Classifiers so small that files and adaptations of them take no time."""

from __future__ import annotations

from typing import Any

import torch
from contexts import suited

from metarl.policies.classifier import Classifier
from metarl.policies.files.metadata import ClassifierMetadata
from metarl.policies.methods import get_method, initial_meta_parameters
from metarl.policies.networks.conv4 import Conv4
from metarl.policies.networks.network import ImageNetwork, Parameters

NETWORK = Conv4(side=16, ways=3, width=8)


def small_classifier(
    method: str = "maml",
    network: ImageNetwork = NETWORK,
    parameters: Parameters | None = None,
    seed: int = 0,
    **metadata: Any,
) -> Classifier:
    """An untrained one with two inner steps, some parameters and metadata changed."""
    random = torch.Generator().manual_seed(seed)
    values = {"method": method, "inner_steps": 2, "shots": 1, "queries": 2, "data": "colours", "training": {"seed": 3}}
    network = suited(network, method)
    described = ClassifierMetadata(**{**values, **metadata})
    initial = network.initial_parameters(random) | initial_meta_parameters(
        get_method(method), network.layers, described.inner_steps, 0.1, random
    )
    return Classifier(initial | (parameters or {}), network, described)
