"""Layers against numbers worked by hand, PyTorch's modules and autograd."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from metarl.policies.networks.kinds import affine, batch_normalized, convolution, group_normalized
from metarl.policies.networks.layers import ExtraParameter, Layer


def normal(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


CASES = {
    "linear": (Layer("l", "linear", 4, 3), normal(5, 4), (5, 3)),
    "convolution 3x3": (Layer("l", "convolution", 2, 3, kernel=3), normal(2, 2, 4, 5), (2, 3, 4, 5)),
    "convolution 1x1": (Layer("l", "convolution", 2, 3), normal(2, 2, 4, 5), (2, 3, 4, 5)),
    "group norm": (Layer("l", "group_norm", 8, 8), normal(2, 8, 4, 5), (2, 8, 4, 5)),
    "batch norm": (Layer("l", "batch_norm", 3, 3), normal(2, 3, 4, 5), (2, 3, 4, 5)),
}


@pytest.mark.parametrize("case", CASES)
def test_parameter_gradients_equal_autograd(case: str) -> None:
    layer, inputs, shape = CASES[case]
    parameters = {name: normal(*each, seed=1).requires_grad_() for name, each in layer.parameter_shapes.items()}
    output, at_output = layer.operation(parameters)(inputs), normal(*shape, seed=3)
    assert output.shape == shape
    expected = torch.autograd.grad(output, list(parameters.values()), at_output)
    gradients = layer.parameter_gradients(inputs, at_output)
    assert list(gradients) == list(parameters)
    for gradient, reference in zip(gradients.values(), expected, strict=True):
        torch.testing.assert_close(gradient, reference)


@pytest.mark.parametrize("case", CASES)
def test_parameter_gradients_are_differentiable_twice(case: str) -> None:
    layer, inputs, shape = CASES[case]
    arguments = (inputs.clone().requires_grad_(), normal(*shape, seed=3).requires_grad_())

    def gradients(inputs: Tensor, at_output: Tensor) -> tuple[Tensor, ...]:
        return tuple(layer.parameter_gradients(inputs, at_output).values())

    assert gradcheck(gradients, arguments) and gradgradcheck(gradients, arguments)


def test_a_layer_computes_with_its_own_parameters_alone() -> None:
    layer = Layer("head", "linear", 2, 1, extra=(ExtraParameter("log_std", (3,), 0.5),))
    assert layer.parameter_shapes == {"head.weight": (1, 2), "head.bias": (1,), "head.log_std": (3,)}
    assert (layer.weights, layer.biases, layer.parameters, layer.parameter_bytes) == (2, 4, 6, 24)
    parameters = layer.initial_parameters(torch.Generator())
    assert parameters["head.log_std"].tolist() == [0.5, 0.5, 0.5]
    parameters |= {"head.weight": torch.tensor([[2.0, 3.0]]), "head.bias": torch.tensor([1.0])}
    assert layer.operation(parameters | {"other.weight": torch.zeros(5)})(torch.tensor([[10.0, 100.0]])).item() == 321


def test_what_stands_before_and_after_a_layer_by_hand() -> None:
    maps = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[-8.0, 0.0], [0.0, -4.0]]]])
    averaged = Layer("l", "linear", 2, 1, side=2, reduction="average")
    flat = Layer("l", "linear", 8, 1, side=2, reduction="flatten")
    assert averaged.prepare(maps).tolist() == [[2.5, -3.0]]
    assert flat.prepare(maps).tolist() == [[1.0, 2.0, 3.0, 4.0, -8.0, 0.0, 0.0, -4.0]]
    assert (averaged.input_words, averaged.averaged_positions) == (2, 4)
    assert (flat.input_words, flat.averaged_positions) == (8, 1)
    pooled = Layer("l", "group_norm", 2, 2, side=2, activation="leaky_relu", slope=0.25, pooling="average")
    assert pooled.finish(maps).tolist() == [[[[2.5]], [[-0.75]]]]
    assert Layer("l", "group_norm", 2, 2, activation="relu", pooling="max").finish(maps).tolist() == [
        [[[4.0]], [[0.0]]]
    ]
    assert Layer("l", "linear", 2, 1).finish(maps) is maps
    assert (pooled.output_words, pooled.pooled_words) == (8, 2)


def test_a_convolution_by_hand() -> None:
    image = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    left = torch.zeros(1, 1, 3, 3)
    left[0, 0, 1, 0] = 1  # each output is its left neighbour's input
    assert convolution(image, left).tolist() == [[[[0.0, 1.0], [0.0, 3.0]]]]
    assert convolution(image, torch.tensor([[[[2.0]]], [[[-1.0]]]])).tolist() == [
        [[[2.0, 4.0], [6.0, 8.0]], [[-1.0, -2.0], [-3.0, -4.0]]]
    ]


def test_a_norms_parameters_by_hand() -> None:
    inputs = torch.tensor([[[[1.0, -1.0]], [[2.0, -2.0]]]])
    assert affine(inputs, torch.tensor([3.0, 0.5]), torch.tensor([1.0, -1.0])).tolist() == [
        [[[4.0, -2.0]], [[0.0, -2.0]]]
    ]


def test_group_norm_by_hand() -> None:
    """8 groups of 2 channels of 1x1: their values a +- d become +-d / sqrt(d^2 + 1e-5)."""
    offsets = torch.arange(8, dtype=torch.float64)
    distances = torch.tensor([0.0, 0.01, 0.1, 1, 2, 3, 4, 5], dtype=torch.float64)
    inputs = torch.stack([offsets + distances, offsets - distances], dim=1).view(1, 16, 1, 1)
    expected = distances / (distances**2 + 1e-5).sqrt()
    torch.testing.assert_close(group_normalized(inputs).view(8, 2), torch.stack([expected, -expected], dim=1))


def test_group_norm_looks_at_one_image_and_batch_norm_at_all() -> None:
    inputs = normal(3, 16, 2, 2)
    for normalized, alone in ((group_normalized, True), (batch_normalized, False)):
        apart = torch.cat([normalized(image.unsqueeze(0)) for image in inputs])
        assert torch.allclose(normalized(inputs), apart) == alone


def test_batch_norm_equals_the_training_module() -> None:
    inputs = 3 * normal(4, 16, 2, 3) + 1
    module = torch.nn.BatchNorm2d(16, dtype=torch.float64)
    torch.testing.assert_close(batch_normalized(inputs), module(inputs))
    means = batch_normalized(inputs).mean(dim=(0, 2, 3))
    torch.testing.assert_close(means, torch.zeros(16, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("normalized", [group_normalized, batch_normalized])
def test_norms_are_differentiable_twice(normalized: Callable[[Tensor], Tensor]) -> None:
    inputs = normal(2, 16, 2, 1).requires_grad_()
    assert gradgradcheck(normalized, (inputs,))


def test_initial_parameters() -> None:
    layer = Layer("conv", "convolution", 32, 64, kernel=3)
    (weight,) = layer.initial_parameters(torch.Generator().manual_seed(0)).values()
    bound = math.sqrt(6 / (9 * 96))
    assert weight.shape == (64, 32, 3, 3)
    assert 0.999 * bound < weight.max() < bound and -bound < weight.min() < -0.999 * bound
    assert abs(weight.std() / (bound / math.sqrt(3)) - 1) < 0.02
    norm = Layer("norm", "group_norm", 8, 8).initial_parameters(torch.Generator())
    assert norm["norm.weight"].tolist() == [1] * 8 and norm["norm.bias"].tolist() == [0] * 8
