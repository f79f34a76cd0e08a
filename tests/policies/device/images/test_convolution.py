"""Convolutions, norms and poolings in place against PyTorch's, and their memory."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from metarl.policies.device.accumulators import accumulator, updated_layer
from metarl.policies.device.images.convolution import add_weight_gradient, convolve, convolve_backward
from metarl.policies.device.images.feature_maps import FeatureMaps, empty_feature_maps, pool, pool_backward, pool_row
from metarl.policies.device.images.norm import (
    group_means,
    norm_backward,
    norm_backward_by_parts,
    normalize,
    normalized_parts,
    part_products,
    position_products,
    position_sums,
    scale_and_shift,
)
from metarl.policies.device.meter import Meter

# images, height, width; the last two are worked through by several rows, and by parts of rows
SIZES = [(1, 1, 1), (2, 2, 3), (3, 5, 4), (1, 60, 50), (2, 37, 40)]
CHANNELS = [(3, 8), (8, 8), (16, 8)]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def feature_maps_of(tensor: Tensor, meter: Meter | None = None) -> FeatureMaps:
    """[image, channel, height, width], as PyTorch has it, channel first."""
    by_channel = tensor.transpose(0, 1)
    maps = empty_feature_maps(meter or Meter(), tuple(by_channel.shape))
    maps.array[:] = by_channel.numpy()
    return maps


def assert_equals(maps: FeatureMaps, expected: Tensor, scale: float = 1.0) -> None:
    found = torch.from_numpy(maps.array.copy()).transpose(0, 1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * scale)
    assert maps.memory.size == expected.numel(), "the memory is as large as the tensor"


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("size", SIZES)
def test_a_convolution(size, channels, kernel, in_place) -> None:
    images, height, width = size
    inputs, weight = (
        random(images, channels[0], height, width),
        random(channels[1], channels[0], kernel, kernel, seed=1),
    )
    source = feature_maps_of(inputs)
    output = convolve(source, weight.numpy(), in_place)
    assert_equals(output, functional.conv2d(inputs, weight, padding=kernel // 2), scale=10)
    assert output is source if in_place else True
    if not in_place:
        assert_equals(source, inputs)


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("size", SIZES)
def test_a_convolutions_gradients(size, channels, kernel) -> None:
    images, height, width = size
    inputs = random(images, channels[0], height, width).requires_grad_()
    weight = random(channels[1], channels[0], kernel, kernel, seed=1).requires_grad_()
    output = functional.conv2d(inputs, weight, padding=kernel // 2)
    at_output = random(*output.shape, seed=2)
    at_inputs, at_weight = torch.autograd.grad(output, [inputs, weight], at_output)
    gradient, source, total = (
        feature_maps_of(at_output),
        feature_maps_of(inputs.detach()),
        np.ones(weight.shape, np.float32),
    )
    add_weight_gradient(total, source.array, gradient.array, weight.detach().numpy(), Meter())
    torch.testing.assert_close(torch.from_numpy(total) - 1, at_weight, rtol=1e-4, atol=1e-3)
    convolve_backward(gradient, weight.detach().numpy())
    assert_equals(gradient, at_inputs, scale=10)


def test_a_weight_gradient_of_some_channels() -> None:
    inputs, weight, at_output = random(2, 6, 9, 9), random(8, 6, 3, 3), random(2, 8, 9, 9, seed=1)
    forward, backward = torch.tensor([0, 2.0, 0, 0, 3.0, 0.5]), torch.tensor([0, 1.0, 2.0, 0, 0, 0, 0, 3.0])
    weighed = torch.nn.grad.conv2d_weight(
        inputs * forward[:, None, None], weight.shape, at_output * backward[:, None, None], padding=1
    )
    channels = np.flatnonzero(forward.numpy())
    source, gradient = feature_maps_of(inputs[:, channels]), feature_maps_of(at_output)
    scores = forward[channels].numpy(), backward.numpy()
    total, compact = np.ones(weight.shape, np.float32), np.ones((8, 3, 3, 3), np.float32)
    add_weight_gradient(total, source.array, gradient.array, weight.numpy(), Meter(), channels, scores)
    add_weight_gradient(compact, source.array, gradient.array, weight.numpy(), Meter(), None, scores)
    torch.testing.assert_close(torch.from_numpy(total) - 1, weighed, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(torch.from_numpy(compact) - 1, weighed[:, channels], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(1, 60, 50), (2, 9, 4)])
def test_a_convolution_takes_little_beside_its_tensor(size) -> None:
    images, height, width = size
    meter = Meter()
    maps = feature_maps_of(random(images, 8, height, width), meter)
    convolve(maps, random(16, 8, 3, 3).numpy(), in_place=True)
    three_rows, windows = 3 * 8 * (width + 2), 8 * 9 * min(16, width)
    largest = 16 * images * height * width
    assert 4 * largest < meter.peak <= 4 * (largest + max(three_rows + windows, 4 * largest // 32))


@pytest.mark.parametrize("size", [(1, 60, 50), (3, 5, 4)])
def test_a_norm_and_its_gradients(size) -> None:
    images, height, width = size
    conv_input, kernel = random(images, 3, height, width), random(16, 3, 3, 3, seed=1)
    inputs = functional.conv2d(conv_input, kernel, padding=1).requires_grad_()
    weight, bias = random(16, seed=2).requires_grad_(), random(16, seed=3).requires_grad_()
    output = functional.group_norm(inputs, 8, weight, bias)
    at_output = random(*output.shape, seed=4)
    at_inputs, at_weight, at_bias = torch.autograd.grad(output, [inputs, weight, bias], at_output)

    meter, scales = Meter(), weight.detach().numpy()
    normalized = feature_maps_of(inputs.detach())
    statistics = normalize(normalized)
    assert_equals(scale_and_shift(normalized, scales, bias.detach().numpy(), in_place=False), output.detach())
    by_maps, by_parts = feature_maps_of(at_output), feature_maps_of(at_output)
    sums = position_sums(by_maps.array, meter)
    products = position_products(normalized.array, by_maps.array, None, meter)
    torch.testing.assert_close(torch.from_numpy(products.sum(axis=1)), at_weight, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(torch.from_numpy(sums.sum(axis=1)), at_bias, rtol=1e-4, atol=1e-3)

    source = feature_maps_of(conv_input)
    again = part_products(normalized_parts(source, kernel.numpy(), statistics), by_parts)
    np.testing.assert_allclose(again, products, rtol=1e-4, atol=1e-3)
    means = group_means(scales, sums, products, height * width)
    norm_backward(by_maps, scales, statistics, means, normalized)
    norm_backward_by_parts(by_parts, scales, statistics, means, normalized_parts(source, kernel.numpy(), statistics))
    for gradient in (by_maps, by_parts):
        assert_equals(gradient, at_inputs)


@pytest.mark.parametrize("pooling", ["max", "average"])
@pytest.mark.parametrize("size", [(1, 2, 2), (2, 5, 7), (3, 8, 6)])
def test_a_pooling_and_its_gradient(size, pooling) -> None:
    images, height, width = size
    inputs = functional.relu(random(images, 3, height, width)).requires_grad_()  # with ties at zero
    output = (functional.max_pool2d if pooling == "max" else functional.avg_pool2d)(inputs, 2)
    at_output = random(*output.shape, seed=1)
    maps, gradient = feature_maps_of(inputs.detach()), feature_maps_of(at_output)
    bits = pool(maps, pooling, keep=True)
    assert_equals(maps, output.detach())
    assert (bits is None) == (pooling == "average")
    pool_backward(gradient, height, width, bits)
    assert_equals(gradient, torch.autograd.grad(output, inputs, at_output)[0])


@pytest.mark.parametrize("pooling", ["max", "average"])
def test_a_pooling_by_parts_of_rows(pooling) -> None:
    inputs = random(1, 3, 5, 7)
    output = (functional.max_pool2d if pooling == "max" else functional.avg_pool2d)(inputs, 2)[0]
    pooled = np.full(output.shape, 99, np.float32)
    for row in range(5):
        for left in (0, 4):
            pool_row(inputs[0, :, row, left : left + 4].numpy().copy(), row, left, pooled, pooling)
    torch.testing.assert_close(torch.from_numpy(pooled), output)


def test_sums_become_new_parameters() -> None:
    meter, sums = Meter(), {}
    parameters = {"a.weight": torch.ones(2, 3), "a.bias": torch.ones(3), "b.weight": torch.ones(2)}
    accumulator(sums, "a.weight", parameters, meter, np.array([0, 2]))[:] = [[1, 2], [3, 4]]
    accumulator(sums, "a.bias", parameters, meter, np.array([1]))[:] = 5
    accumulator(sums, "b.weight", parameters, meter)[:] += 6
    updated = updated_layer(sums, "a", 0.5, parameters, meter) | updated_layer(sums, "b", 0.5, parameters, meter)
    assert updated["a.weight"].tolist() == [[0.5, 1, 0], [-0.5, 1, -1]]
    assert updated["a.bias"].tolist() == [1, -1.5, 1]
    assert updated["b.weight"].tolist() == [-2, -2]
    assert parameters["a.weight"].eq(1).all() and not sums


def test_a_resized_array_counts_as_what_it_is() -> None:
    meter = Meter()
    array = meter.empty(10)
    array[:] = range(10)
    meter.resize(array, 100)
    assert (meter.alive, meter.peak) == (400, 400) and array[:10].tolist() == list(range(10))
    meter.resize(array, 3)
    assert (meter.alive, meter.peak) == (12, 400) and array.tolist() == [0, 1, 2]
    del array
    assert meter.alive == 0
