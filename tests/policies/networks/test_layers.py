"""Layers against numbers worked by hand, PyTorch's modules and autograd."""

import math

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from metarl.policies.networks.layers import Layer, affine, convolution, fully_connected, normalized, parameter_gradients


def normal(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


CASES = {
    "fc": (normal(3, 4, seed=1), normal(5, 4), (5, 3)),
    "conv 3x3": (normal(3, 2, 3, 3, seed=1), normal(2, 2, 4, 5), (2, 3, 4, 5)),
    "conv 1x1": (normal(3, 2, 1, 1, seed=1), normal(2, 2, 4, 5), (2, 3, 4, 5)),
    "norm": (normal(3, seed=1), normal(2, 3, 4, 5), (2, 3, 4, 5)),
}


def output_of(weight: Tensor, bias: Tensor, inputs: Tensor) -> Tensor:
    if weight.dim() == 4:
        return convolution(inputs, weight)
    return (fully_connected if weight.dim() == 2 else affine)(inputs, weight, bias)


@pytest.mark.parametrize("case", CASES)
def test_parameter_gradients_equal_autograd(case: str) -> None:
    weight, inputs, shape = CASES[case]
    bias = normal(len(weight), seed=2)
    weight.requires_grad_(), bias.requires_grad_()
    output, at_output = output_of(weight, bias, inputs), normal(*shape, seed=3)
    assert output.shape == shape
    wanted = {"weight": weight} if weight.dim() == 4 else {"weight": weight, "bias": bias}
    expected = torch.autograd.grad(output, wanted.values(), at_output)
    gradients = parameter_gradients(weight, inputs, at_output)
    assert list(gradients) == list(wanted)
    for gradient, reference in zip(gradients.values(), expected, strict=True):
        torch.testing.assert_close(gradient, reference)


@pytest.mark.parametrize("case", CASES)
def test_parameter_gradients_are_differentiable_twice(case: str) -> None:
    weight, inputs, shape = CASES[case]
    arguments = (inputs.clone().requires_grad_(), normal(*shape, seed=3).requires_grad_())

    def gradients(inputs: Tensor, at_output: Tensor) -> tuple[Tensor, ...]:
        return tuple(parameter_gradients(weight.detach(), inputs, at_output).values())

    assert gradcheck(gradients, arguments) and gradgradcheck(gradients, arguments)


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
    torch.testing.assert_close(normalized(inputs, "group").view(8, 2), torch.stack([expected, -expected], dim=1))


def test_group_norm_looks_at_one_image_and_batch_norm_at_all() -> None:
    inputs = normal(3, 16, 2, 2)
    for norm, alone in (("group", True), ("batch", False)):
        apart = torch.cat([normalized(image.unsqueeze(0), norm) for image in inputs])
        assert torch.allclose(normalized(inputs, norm), apart) == alone


def test_batch_norm_equals_the_training_module() -> None:
    inputs = 3 * normal(4, 16, 2, 3) + 1
    module = torch.nn.BatchNorm2d(16, dtype=torch.float64)
    torch.testing.assert_close(normalized(inputs, "batch"), module(inputs))
    means = normalized(inputs, "batch").mean(dim=(0, 2, 3))
    torch.testing.assert_close(means, torch.zeros(16, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_norms_are_differentiable_twice(norm: str) -> None:
    inputs = normal(2, 16, 2, 1).requires_grad_()
    assert gradgradcheck(lambda inputs: normalized(inputs, norm), (inputs,))


def test_initial_parameters() -> None:
    layer = Layer("conv", "conv", 32, 64, kernel=3)
    (weight,) = layer.initial_parameters(torch.Generator().manual_seed(0)).values()
    bound = math.sqrt(6 / (9 * 96))
    assert weight.shape == (64, 32, 3, 3)
    assert 0.999 * bound < weight.max() < bound and -bound < weight.min() < -0.999 * bound
    assert abs(weight.std() / (bound / math.sqrt(3)) - 1) < 0.02
    norm = Layer("norm", "norm", 4, 4).initial_parameters(torch.Generator())
    assert norm["norm.weight"].tolist() == [1, 1, 1, 1] and norm["norm.bias"].tolist() == [0, 0, 0, 0]
