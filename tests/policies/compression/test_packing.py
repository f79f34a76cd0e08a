"""Masked weights in files: bit-exact round trips, their size, and files that are refused."""

import math
from pathlib import Path

import pytest
import torch
from device_problems import device_parameters
from hypothesis import given
from hypothesis import strategies as st

from metarl.core.errors import Refusal
from metarl.policies.compression.masks import MASK, masked, weight_names
from metarl.policies.compression.packing import KEPT, packed, unpacked
from metarl.policies.controller import Controller
from metarl.policies.loading import load_controller
from metarl.policies.networks.mlp import GaussianMLP
from metarl.policies.networks.network import Parameters

NETWORK = GaussianMLP(observation_size=5, hidden_sizes=(9, 7), action_size=3)
NAME = "layer2.weight"


def pruned(share: float = 0.6, seed: int = 0) -> Parameters:
    parameters = device_parameters(NETWORK, "maml")
    random = torch.Generator().manual_seed(seed)
    masks = {name: torch.rand(parameters[name].shape, generator=random) > share for name in weight_names(NETWORK)}
    return masked(parameters | {name + MASK: mask.float() for name, mask in masks.items()})


@given(share=st.floats(-0.1, 1.1), seed=st.integers(0, 100))
def test_packing_is_exact_and_as_small_as_it_can_be(share: float, seed: int) -> None:
    parameters = pruned(share, seed)
    tensors = packed(parameters)
    back = unpacked(tensors, NETWORK)
    assert back.keys() == parameters.keys()
    for name, tensor in parameters.items():
        assert torch.equal(back[name].view(torch.int32), tensor.view(torch.int32))
    for name in weight_names(NETWORK):
        assert name not in tensors
        count = parameters[name].numel()
        assert tensors[name + MASK].numel() == math.ceil(count / 8)
        assert tensors[name + KEPT].numel() == int(parameters[name + MASK].sum())


def test_bits_by_hand() -> None:
    """Nine numbers, of which the first, the third and the last are kept: 0b00000101 and 0b1."""
    network = GaussianMLP(observation_size=9, hidden_sizes=(), action_size=1)
    weight = torch.tensor([[5.0, 0, 6, 0, 0, 0, 0, 0, 7]])
    tensors = packed({"layer1.weight": weight, "layer1.weight.mask": (weight != 0).float()})
    assert tensors["layer1.weight.mask"].tolist() == [5, 1]
    assert tensors["layer1.weight.kept"].tolist() == [5, 6, 7]
    assert torch.equal(unpacked(tensors, network)["layer1.weight"], weight)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({NAME + MASK: torch.full((8,), 255, dtype=torch.uint8)}, "bits set behind its last number"),
        ({NAME + MASK: torch.zeros(7, dtype=torch.uint8)}, r"must be uint8 \[8\]"),
        ({NAME + MASK: torch.zeros(8)}, r"must be uint8 \[8\]"),
        ({NAME + KEPT: torch.zeros(1)}, "as many numbers as its mask keeps"),
        ({NAME + KEPT: torch.zeros(63, dtype=torch.float16)}, "must be float32"),
        ({NAME: torch.zeros(7, 9)}, "without 'layer2.weight'"),
        ({"layer9.weight" + MASK: torch.zeros(8, dtype=torch.uint8)}, "belongs to no parameter"),
    ],
)
def test_masks_that_do_not_fit_are_refused(change: Parameters, sentence: str) -> None:
    with pytest.raises(Refusal, match=sentence):
        unpacked(packed(pruned()) | change, NETWORK)


def controller(parameters: Parameters) -> Controller:
    dense = load_controller("navigation-2d/maml")
    names = weight_names(dense.network)
    masks = {name + MASK: (dense.parameters[name].abs() > 0.1).float() for name in names}
    return Controller(masked(dense.parameters | masks) | parameters, dense.network, dense.metadata)


def test_a_file_of_a_pruned_controller_is_smaller_and_gives_it_back(tmp_path: Path) -> None:
    original = controller({})
    original.save(tmp_path / "pruned.safetensors")
    loaded = load_controller(tmp_path / "pruned.safetensors")
    assert loaded.parameters.keys() == original.parameters.keys()
    for name, tensor in original.parameters.items():
        assert torch.equal(loaded.parameters[name], tensor)
    load_controller("navigation-2d/maml").save(tmp_path / "dense.safetensors")
    weights = [original.parameters[name] for name in weight_names(original.network)]
    saved = sum(4 * int((weight == 0).sum()) - math.ceil(weight.numel() / 8) for weight in weights)
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("dense", "pruned")]
    assert sizes[0] - sizes[1] > saved + 1000  # masks, names and metadata are deflated
    assert loaded.predict([0.1, 0.2])[0].tolist() == original.predict([0.1, 0.2])[0].tolist()


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({NAME: torch.ones(100, 100)}, "not zero where"),
        ({NAME + MASK: torch.full((100, 100), 0.5)}, "zeros and ones alone"),
        ({"layer2.bias" + MASK: torch.ones(100)}, "unknown parameter 'layer2.bias.mask'"),
        ({NAME + MASK: torch.ones(3, 100)}, "must have the shape"),
    ],
)
def test_a_controller_with_wrong_masks_is_refused(parameters: Parameters, sentence: str) -> None:
    with pytest.raises(Refusal, match=sentence):
        controller(parameters)
