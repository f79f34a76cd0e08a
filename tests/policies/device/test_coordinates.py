"""An inner step on coordinates of binary bases, on a device, against the training's inner step."""

import pytest
import torch
from basis_problems import with_bases
from device_problems import device_controller, device_parameters, random_samples, training_batch

from metarl.core.errors import Refusal
from metarl.inner_loop import as_leaves, inner_step
from metarl.policies.compression.bases import ALPHAS, CODES, GroupKind, bases_of, check_bases, coded_names, grouped
from metarl.policies.device.meter import Meter
from metarl.policies.device.step import device_step
from metarl.policies.methods import get_method
from metarl.policies.networks.mlp import GaussianMLP

NETWORK = GaussianMLP(observation_size=5, hidden_sizes=(9, 7), action_size=3)


@pytest.mark.parametrize("kind", ["row", "channel"])
@pytest.mark.parametrize("chunk", [None, 6])
@pytest.mark.parametrize("method", ["maml", "p-meta", "p-meta-fw0.3", "p-meta-bw0.3"])
def test_a_step_equals_the_training(method: str, chunk: int | None, kind: GroupKind) -> None:
    for floats in (0, 1):
        coded = with_bases(device_parameters(NETWORK, method), NETWORK, kind, floats=floats)
        episodes = random_samples(NETWORK, (14, 3, 20))
        ours = device_step(NETWORK, coded, get_method(method), 0, episodes, chunk)
        rule = get_method(method)
        expected = inner_step(NETWORK, as_leaves(coded), rule, 0, training_batch(episodes), second_order=False)
        for name, tensor in expected.parameters.items():
            torch.testing.assert_close(ours[name], tensor.detach(), rtol=2e-5, atol=5e-6)
        assert not torch.equal(ours["layer2.weight.alphas"], coded["layer2.weight.alphas"])
        assert all(torch.equal(ours[name + CODES], coded[name + CODES]) for name in coded_names(coded))
        check_bases(ours)


def test_one_output_and_one_input_make_one_group() -> None:
    network = GaussianMLP(observation_size=1, hidden_sizes=(4,), action_size=1)
    kinds: tuple[GroupKind, ...] = ("row", "channel")
    method, episodes = get_method("maml"), random_samples(network, (5, 8))
    for kind in kinds:
        coded = with_bases(device_parameters(network, "maml"), network, kind)
        ours = device_step(network, coded, method, 0, episodes)
        expected = inner_step(network, as_leaves(coded), method, 0, training_batch(episodes), second_order=False)
        for name, tensor in expected.parameters.items():
            torch.testing.assert_close(ours[name], tensor.detach(), rtol=2e-5, atol=5e-6)


def test_a_step_of_the_training_moves_weights_with_their_coordinates() -> None:
    """dL/dalpha is what autograd says, and the weight after the step is codes times new coordinates."""
    parameters = with_bases(device_parameters(NETWORK, "maml"), NETWORK)
    batch, method = training_batch(random_samples(NETWORK, (14, 3, 20))), get_method("maml")
    adapted = inner_step(NETWORK, as_leaves(parameters), method, 0, batch, second_order=True).parameters
    leaves = as_leaves(parameters)
    weights = {name: (leaves[name + CODES] * leaves[name + ALPHAS]).sum(dim=0) for name in coded_names(parameters)}
    policy = leaves | weights
    loss = batch.loss(NETWORK, policy, NETWORK(policy, batch.inputs)[0])
    for index, name in enumerate(coded_names(parameters)):
        (gradient,) = torch.autograd.grad(loss, leaves[name + ALPHAS], retain_graph=True)
        step_size = parameters["step_sizes"][0, index]
        torch.testing.assert_close(adapted[name + ALPHAS], parameters[name + ALPHAS] - step_size * gradient)
        bases = bases_of({each: tensor.detach() for each, tensor in adapted.items()}, name)
        torch.testing.assert_close(grouped(adapted[name], adapted[name + ALPHAS].shape[1:]), bases.weights)


def test_coordinates_take_less_memory_than_weights_and_what_is_planned() -> None:
    network = GaussianMLP(observation_size=20, hidden_sizes=(100, 100), action_size=6)
    dense = device_parameters(network, "maml")
    episodes, peaks = random_samples(network, (40, 40)), {}
    for name, parameters in (("dense", dense), ("coded", with_bases(dense, network, "auto"))):
        meter = Meter()
        device_step(network, parameters, get_method("maml"), 0, episodes, 20, meter)
        peaks[name] = meter.peak
    coordinates = 5 * 20 // 2 + 5 * 100 // 2 + 5 * 6 // 2
    assert peaks["dense"] - peaks["coded"] == 4 * (20 * 100 + 100 * 100 + 100 * 6 - coordinates)


def test_a_stream_is_refused() -> None:
    parameters = with_bases(device_parameters(NETWORK, "maml"), NETWORK)
    with pytest.raises(Refusal, match="cannot take in a stream"):
        device_controller(NETWORK, "maml", parameters).stream()
