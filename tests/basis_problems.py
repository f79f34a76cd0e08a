"""Parameters of binary bases for tests: sketched from float ones, with groups that lack some."""

from __future__ import annotations

from metarl.compression.bases.sketching import sketched
from metarl.policies.compression.bases import GroupKind, as_parameters, group_shape, grouped
from metarl.policies.compression.masks import weight_names
from metarl.policies.networks.mlp import GaussianMLP
from metarl.policies.networks.network import Parameters


def with_bases(
    parameters: Parameters, network: GaussianMLP, kind: GroupKind = "row", most: int = 3, floats: int = 0
) -> Parameters:
    """Return the parameters with bases in all but the last ``floats`` layers; every second group lacks the last."""
    coded = dict(parameters)
    for name in weight_names(network)[: len(network.layers) - floats]:
        shape = tuple(parameters[name].shape)
        groups = group_shape(shape, kind, name)
        bases = sketched(grouped(parameters[name], groups), most)
        bases.codes[::2, :, -1] = 0
        bases.alphas[::2, -1] = 0
        coded |= as_parameters(name, bases, shape, groups)
    return coded
