"""The quantizer of FedAQT and its gradient relay, against autograd of centralized quantization-aware training."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from metarl.fleet.federated.quantizer import Quantized, largest_integer, pack, quantize, relay, unpack


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def straight_through(weights: Tensor, bits: int) -> Tensor:
    """Centralized QAT: the scale follows the weights, the rounding passes gradients on."""
    scale = weights.abs().amax() / largest_integer(bits)
    steps = weights / scale
    return scale * (steps + (steps.round() - steps).detach())


def test_numbers_worked_by_hand() -> None:
    quantized = quantize(torch.tensor([0.7, -0.31, 0.04, 0.0]), 4)  # scale 0.1
    assert quantized.integers.tolist() == [7, -3, 0, 0]
    assert float(quantized.scale) == pytest.approx(0.1)
    assert torch.allclose(quantized.floats(), torch.tensor([0.7, -0.3, 0.0, 0.0]))


def test_relay_worked_by_hand() -> None:
    # q - w/s is 0, 0.1 and -0.4; its sum with g is 0.2 - 0.4 = -0.2, and a seventh of that goes to the largest.
    weights, gradient = torch.tensor([-0.7, -0.31, 0.04]).double(), torch.tensor([5.0, 2.0, 1.0]).double()
    expected = torch.tensor([5.0 + 0.2 / 7, 2.0, 1.0]).double()
    assert torch.allclose(relay(gradient, weights, 4), expected, atol=1e-12)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("ties", [False, True])
def test_mean_of_the_clients_relayed_is_the_gradient_of_centralized_training(bits: int, ties: bool) -> None:
    weights = normal(5, 7)
    if ties:
        weights[0, 0] = -(weights.abs().max() + 1)
        weights[3, 2] = weights[4, 4] = -weights[0, 0]
    clients = [(normal(11, 7, seed=seed), normal(11, 5, seed=seed + 50)) for seed in range(1, 6)]

    def loss(matrix: Tensor, data: tuple[Tensor, Tensor]) -> Tensor:
        return ((data[0] @ matrix.T).tanh() - data[1]).square().mean()

    leaf = weights.clone().requires_grad_()
    pooled = torch.stack([loss(straight_through(leaf, bits), data) for data in clients]).mean()
    (centralized,) = torch.autograd.grad(pooled, leaf)

    gradients = []
    for data in clients:
        received = quantize(weights, bits).floats().requires_grad_()
        gradients.append(torch.autograd.grad(loss(received, data), received)[0])
    mean = torch.stack(gradients).mean(dim=0)
    relayed = relay(mean, weights, bits)
    assert (relayed - centralized).abs().max() < 1e-10
    one_by_one = torch.stack([relay(gradient, weights, bits) for gradient in gradients]).mean(dim=0)
    assert (relayed - one_by_one).abs().max() < 1e-12
    changed = relayed != mean
    assert changed.any()
    assert torch.equal(changed & (weights.abs() < weights.abs().max()), torch.zeros_like(changed))


@pytest.mark.parametrize("bits", [2, 3, 4, 8, 16])
def test_quantizer_is_near_idempotent_and_exact_at_the_largest(bits: int) -> None:
    weights = normal(40)
    quantized = quantize(weights, bits)
    assert (weights - quantized.floats()).abs().max() <= quantized.scale / 2 * (1 + 1e-12)
    again = quantize(quantized.floats(), bits)
    assert torch.equal(again.integers, quantized.integers)
    assert torch.allclose(again.scale, quantized.scale, rtol=1e-14)
    peak = weights.abs().argmax()
    assert int(quantized.integers[peak].abs()) == largest_integer(bits)
    assert quantized.floats()[peak] == pytest.approx(float(weights[peak]), rel=1e-14)


def test_zeros_have_the_scale_one_and_nothing_is_relayed() -> None:
    quantized = quantize(torch.zeros(3), 4)
    assert quantized.integers.tolist() == [0, 0, 0]
    assert float(quantized.scale) == 1
    assert torch.equal(relay(torch.ones(3), torch.zeros(3), 4), torch.ones(3))


def test_chance_rounds_without_bias_where_the_nearest_loses_a_small_update() -> None:
    start = torch.tensor([0.7, 0.3, -0.2, 0.1], dtype=torch.float64)
    moved = start - torch.tensor([0.0, 0.02, 0.04, -0.03], dtype=torch.float64)  # all below half a scale, 0.05
    assert torch.equal(quantize(moved, 4).integers, quantize(start, 4).integers)
    random = torch.Generator().manual_seed(3)
    mean = torch.stack([quantize(moved, 4, random).floats() for _ in range(10_000)]).mean(dim=0)
    assert (mean - moved).abs().max() < 5 * 0.05 / 100  # five standard errors of at most s / 2 / sqrt(1e4)


@given(st.sampled_from([2, 4, 8]), st.lists(st.integers(-127, 127), min_size=1, max_size=33))
def test_packing_is_undone_and_takes_no_more_bytes_than_its_bits(bits: int, numbers: list[int]) -> None:
    integers = torch.tensor(numbers).clamp(-largest_integer(bits), largest_integer(bits)).to(torch.int8)
    packed = pack(integers, bits)
    assert packed.dtype == torch.uint8
    assert len(packed) == -(-len(numbers) * bits // 8)
    assert torch.equal(unpack(packed, bits, (len(numbers),)), integers)


def test_two_integers_of_four_bits_stand_in_a_byte() -> None:
    assert pack(torch.tensor([-7, 3, 5], dtype=torch.int8), 4).tolist() == [0x39, 0x05]


def test_integer_products_equal_the_float_simulation() -> None:
    inputs, weights = quantize(normal(9, 30).float(), 8), quantize(normal(6, 30, seed=1).float(), 4)
    summed = inputs.integers.int() @ weights.integers.int().T  # int32 accumulators
    exact = summed.float() * (inputs.scale * weights.scale)
    simulated = inputs.floats() @ weights.floats().T
    assert torch.allclose(simulated, exact, rtol=1e-6, atol=1e-6 * float(exact.abs().max()))
    assert isinstance(inputs, Quantized)
