"""What a network takes in memory, told from its layers before anything is allocated."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from metarl.core.errors import Refusal
from metarl.policies.networks.kinds import Shape
from metarl.policies.networks.layers import Layer
from metarl.policies.networks.network import Network

WORD_BYTES = 4  # of a float32
MAX_LAYERS = 1000
MAX_BYTES = 2 * 10**9  # of parameters, or of activations: making random weights takes three times their bytes


class NetworkBytes(NamedTuple):
    """The bytes of a network's parameters, and of all layers' inputs and outputs for one sample."""

    parameters: int
    activations: int


def network_bytes(layers: Sequence[Layer]) -> NetworkBytes:
    """Return what a network's parameters and its trace of one sample take in memory."""
    return NetworkBytes(
        parameters=sum(layer.parameter_bytes for layer in layers),
        activations=WORD_BYTES * sum(layer.input_words + layer.output_words for layer in layers),
    )


def check_size(network: Network, meta_parameters: Mapping[str, Shape] | None = None) -> None:
    """Raise Refusal for a network that is too large to be worked with; nothing is allocated.

    ``meta_parameters`` are the shapes of what is learned beside the network's own parameters: step sizes and attention.
    """
    if len(network.layers) > MAX_LAYERS:
        raise Refusal(f"a network has at most {MAX_LAYERS} layers, got {len(network.layers)}")
    size = network_bytes(network.layers)
    others = WORD_BYTES * sum(map(math.prod, (meta_parameters or {}).values()))
    check_bytes("the parameters of the network", size.parameters + others)
    check_bytes(f"the activations of one {network.takes.removesuffix('s')}", size.activations)


def check_bytes(what: str, count: int) -> None:
    """Raise Refusal if ``what`` would take more memory than MAX_BYTES."""
    if count > MAX_BYTES:
        raise Refusal(f"{what} would take {_gigabytes(count)} of memory, more than the {_gigabytes(MAX_BYTES)} allowed")


def _gigabytes(count: int) -> str:
    """Return a number of bytes in GB: with a decimal where it is small, as a power of ten where it has many digits."""
    digits = str(count // 10**9)
    if len(digits) < 3:
        return f"{count / 1e9:.3g} GB"
    return f"{digits} GB" if len(digits) < 7 else f"10^{len(digits) - 1} GB"
