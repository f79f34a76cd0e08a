"""Files of int8 controllers: read back as they were, or refused in a sentence."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from integer_problems import integer_controller

from metarl.core.errors import Refusal
from metarl.policies.controller import Controller
from metarl.policies.loading import load_controller


def test_a_file_reads_back_with_every_type(tmp_path: Path) -> None:
    controller = integer_controller("p-meta")
    controller.save(tmp_path / "a.safetensors")
    loaded = load_controller(tmp_path / "a.safetensors")
    assert loaded.network == controller.network
    for name, tensor in controller.parameters.items():
        assert loaded.parameters[name].dtype == tensor.dtype
        assert torch.equal(loaded.parameters[name], tensor)
    assert loaded.metadata.compression is not None
    assert loaded.metadata.compression.kind == "int8"


@pytest.mark.parametrize(
    ("name", "tensor", "sentence"),
    [
        ("layer1.weight", torch.zeros(7, 3), "must be int8, got float32"),
        ("layer1.weight", torch.full((7, 3), -128, dtype=torch.int8), "must lie from -127 to 127"),
        ("layer2.bias", torch.full((5,), 2**30 + 1, dtype=torch.int32), "so that no sum overflows"),
        ("layer2.weight_scale", torch.tensor(0.0), "must be positive"),
        ("layer2.weight_scale", torch.tensor(float("nan")), "holds a NaN"),
        ("layer2.weight_scale", torch.tensor(1e30), "too far apart"),
        ("layer3.sum_shift", torch.tensor(32, dtype=torch.int32), "from 0 to 31"),
        ("layer1.weight.mask", torch.ones(7, 3), "unknown parameter"),
    ],
)
def test_integers_that_cannot_be_are_refused(name: str, tensor: torch.Tensor, sentence: str) -> None:
    controller = integer_controller()
    with pytest.raises(Refusal, match=sentence):
        Controller(controller.parameters | {name: tensor}, controller.network, controller.metadata)


def test_gradients_have_8_or_16_bits() -> None:
    with pytest.raises(ValueError, match="gradient_bits"):
        replace(integer_controller().network, gradient_bits=4)
