"""What a network takes in memory, by hand, and that nothing is allocated for one that takes too much."""

import resource

import pytest

from metarl.core.errors import Refusal
from metarl.policies.methods import METHODS, get_method, meta_parameter_shapes
from metarl.policies.networks.conv4 import Conv4
from metarl.policies.networks.mlp import GaussianMLP
from metarl.policies.networks.network import Network
from metarl.policies.networks.resnet12 import ResNet12
from metarl.policies.networks.sizes import MAX_BYTES, check_bytes, check_size, network_bytes


def test_bytes_by_hand() -> None:
    """2 -> 3 -> 1: 9 and 4 weights and biases and a log_std; inputs 2 + 3, outputs 3 + 1."""
    assert network_bytes(GaussianMLP(2, (3,), 1).layers) == (4 * (9 + 4 + 1), 4 * (2 + 3 + 3 + 1))
    # One 3x3 convolution from 3 to 8 channels on 16 x 16, its norm, and three more pairs on 8, 4 and 2; fc 8 -> 1.
    words = 256 * (3 + 8 + 8 + 8) + (64 + 16 + 4) * 4 * 8 + 8 + 1
    assert network_bytes(Conv4(16, 1, 8).layers).activations == 4 * words


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        (GaussianMLP(20, (10**9,), 6), "the parameters of the network would take 108 GB of memory, more than the 2 GB"),
        (GaussianMLP(20, (10**15, 10**15), 6), r"would take 10\^21 GB"),
        (GaussianMLP(20, (10**400,), 6), r"would take 10\^393 GB"),
        (GaussianMLP(1, (1,) * 1000, 1), "a network has at most 1000 layers, got 1001"),
        (Conv4(side=100_000), "the parameters of the network would take 25 GB"),
        (ResNet12(side=100_000), "the activations of one image would take 69680 GB"),
        (ResNet12(ways=10**9), "the parameters of the network would take 2052 GB"),
    ],
)
def test_what_is_too_large_is_refused_before_it_is_allocated(network: Network, sentence: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Refusal, match=sentence):
        check_size(network)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


@pytest.mark.parametrize("network", [GaussianMLP(20, (100, 100), 6), Conv4(), ResNet12(), ResNet12(side=224)])
def test_networks_of_the_field_are_not_too_large(network: Network) -> None:
    for method in METHODS.values():
        check_size(network, meta_parameter_shapes(method, network.layers, inner_steps=5))


def test_attention_and_step_sizes_count() -> None:
    network = GaussianMLP(20, (20_000,), 6)
    check_size(network, meta_parameter_shapes(get_method("maml"), network.layers, 5))
    with pytest.raises(Refusal, match="the parameters of the network would take"):
        check_size(network, meta_parameter_shapes(get_method("p-meta"), network.layers, 5))
    with pytest.raises(Refusal, match="the parameters of the network would take"):
        check_size(network, meta_parameter_shapes(get_method("maml"), network.layers, 10**9))


def test_the_limit_itself_is_allowed() -> None:
    check_bytes("all", MAX_BYTES)
    with pytest.raises(Refusal, match="all would take 2 GB of memory, more than the 2 GB allowed"):
        check_bytes("all", MAX_BYTES + 1)
