"""Masked weights: in the inner step, the meta-gradient and the step on a device."""

import pytest
import torch
from device_problems import device_parameters, random_samples, training_batch
from masked import assert_zero_where_pruned, pruned
from small_problems import NETWORK as SMALL
from small_problems import small_batch, small_objective, small_parameters

from metarl.inner_loop import as_leaves, inner_step
from metarl.policies.compression.masks import (
    MASK,
    kept_weights,
    masked,
    masked_layers,
    pruned_count,
    sparsity,
    weight_names,
)
from metarl.policies.device.adaptation import step_program
from metarl.policies.device.meter import Meter
from metarl.policies.device.network import Samples, device_layers
from metarl.policies.device.step import device_step, recorded_step
from metarl.policies.device.stream_program import stream_program
from metarl.policies.device.workload import Estimator, Window, Workload, whole_window
from metarl.policies.methods import get_method, trained_names
from metarl.policies.networks.layers import Layer
from metarl.policies.networks.mlp import GaussianMLP

NETWORK = GaussianMLP(observation_size=5, hidden_sizes=(9, 7), action_size=3)


def test_pruned_weights_are_positive_zeros() -> None:
    parameters = pruned(small_parameters(), SMALL)
    assert_zero_where_pruned(parameters, SMALL)
    kept = kept_weights(parameters, SMALL)
    assert sum(kept.values()) == sum(int((parameters[name] != 0).sum()) for name in weight_names(SMALL))
    assert sparsity(parameters, SMALL) == pytest.approx(1 - sum(kept.values()) / (12 + 20 + 10))


def test_the_bytes_of_masked_layers_by_hand() -> None:
    """Of ten weights seven are pruned: 28 bytes less, and two bytes of bits more. A mask of ones only adds its bits."""
    weight = torch.tensor([[1.0, 0, 0, 0, 0], [0, 0, 0, 2, 3]])
    layer = Layer("layer1", "linear", inputs=5, outputs=2)
    parameters = {"layer1.weight": weight, "layer1.weight.mask": (weight != 0).float()}
    assert pruned_count(parameters) == 7
    (masked_layer,) = masked_layers([layer], parameters)
    assert masked_layer.kept_weights == 3
    assert masked_layer.parameter_bytes == 4 * (3 + 2) + 2
    (full,) = masked_layers([layer], {"layer1.weight.mask": torch.ones(2, 5)})
    assert full.parameter_bytes == 4 * (10 + 2) + 2
    assert masked_layers([layer], {"layer1.weight": weight}) == (layer,)


def test_dense_parameters_are_the_same_ones() -> None:
    parameters = small_parameters()
    assert masked(parameters) is parameters


@pytest.mark.parametrize("method", ["maml", "anil", "boil", "p-meta"])
def test_an_inner_step_masks_what_it_starts_from_and_what_it_returns(method: str) -> None:
    parameters = pruned(small_parameters(method), SMALL)
    name = weight_names(SMALL)[1]
    disturbed = parameters | {name: parameters[name] + 1}
    taken = [
        inner_step(SMALL, as_leaves(each), get_method(method), 0, small_batch(1), second_order=False).parameters
        for each in (parameters, parameters | {name: torch.where(parameters[name] == 0, 9.0, parameters[name])})
    ]
    assert_zero_where_pruned(taken[0], SMALL)
    torch.testing.assert_close(taken[0][name], taken[1][name])
    changed = inner_step(SMALL, as_leaves(disturbed), get_method(method), 0, small_batch(1), second_order=False)
    assert not torch.equal(changed.parameters[name], taken[0][name])


def test_masks_are_not_trained() -> None:
    parameters = pruned(small_parameters(), SMALL)
    assert trained_names(get_method("maml"), parameters) == trained_names(get_method("maml"), small_parameters())


def test_meta_gradient_and_fisher_products_are_those_of_the_kept_weights_alone() -> None:
    objective = small_objective()
    parameters = pruned(small_parameters(), SMALL)
    masks = {name: parameters.get(name + MASK, torch.ones_like(parameters[name])) for name in objective.trained}
    kept = torch.cat([masks[name].flatten() for name in objective.trained]) != 0
    direction = torch.linspace(0.1, 1, len(kept)).double() * kept
    gradient = objective.gradient(parameters)
    assert not gradient.trained[~kept].any()
    width = 1e-5
    losses = [objective.measure(objective.displaced(parameters, -sign * width * direction)).loss for sign in (1, -1)]
    slope = (losses[0] - losses[1]) / (2 * width)
    assert slope == pytest.approx(float(gradient.trained @ direction), rel=1e-6)
    product = objective.fisher_product(parameters, 1.0, 0.0)
    assert not product(direction)[~kept].any()
    assert not product((~kept).double()).any()
    assert float(direction @ product(direction)) > 0


@pytest.mark.parametrize("method", ["maml", "anil", "boil", "maml++", "p-meta-layers", "p-meta"])
@pytest.mark.parametrize("chunk", [1, 3, None])
def test_the_step_on_a_device_is_the_masked_training_step(method: str, chunk: int | None) -> None:
    parameters = pruned(device_parameters(NETWORK, method), NETWORK)
    episodes = random_samples(NETWORK, (4, 9, 6))
    adapted = device_step(NETWORK, parameters, get_method(method), 0, episodes, chunk)
    expected = inner_step(
        NETWORK, as_leaves(parameters), get_method(method), 0, training_batch(episodes), second_order=False
    ).parameters
    assert_zero_where_pruned(adapted, NETWORK)
    for name, tensor in expected.items():
        torch.testing.assert_close(adapted[name], tensor.detach(), rtol=2e-5, atol=2e-6)
    assert any(not torch.equal(adapted[name], parameters[name]) for name in parameters)


def test_full_masks_change_nothing() -> None:
    parameters = device_parameters(NETWORK, "maml")
    full = pruned(parameters, NETWORK, share=-1.0)
    episodes = training_batch(random_samples(NETWORK, (4, 9)))
    for name, tensor in inner_step(NETWORK, as_leaves(parameters), get_method("maml"), 0, episodes, True)[0].items():
        adapted = inner_step(NETWORK, as_leaves(full), get_method("maml"), 0, episodes, True)[0]
        assert torch.equal(adapted[name], tensor)


def test_accumulators_take_four_bytes_for_each_kept_weight_and_bias() -> None:
    network = GaussianMLP(observation_size=20, hidden_sizes=(64, 64), action_size=4)
    episodes = random_samples(network, (10, 10))
    peaks = {}
    for share in (-1.0, 0.5, 0.9):
        parameters = pruned(device_parameters(network, "maml"), network, share)
        meter = Meter()
        device_step(network, parameters, get_method("maml"), 0, episodes, 1, meter)
        peaks[sum(kept_weights(parameters, network).values())] = meter.peak
    (most, largest), *others = sorted(peaks.items(), reverse=True)
    for kept, peak in others:
        assert largest - peak == pytest.approx(4 * (most - kept), abs=64)


@pytest.mark.parametrize("method", ["maml", "p-meta"])
def test_a_window_holds_the_accumulators_of_its_kept_weights(method: str) -> None:
    """The second window begins within the second layer, behind some of its kept weights."""
    parameters, episodes = pruned(device_parameters(NETWORK, method), NETWORK), random_samples(NETWORK, (4, 9, 6))
    layers = device_layers(NETWORK, parameters, get_method(method), 0)
    windows = (
        Window({"layer1": (0, 5), "layer2": (0, 4)}, whole_window(layers).vectors),
        Window({"layer2": (4, 5), "layer3": (0, 7)}, frozenset()),
    )
    storage = {part: [getattr(episode, part) for episode in episodes] for part in Samples._fields}
    divided = recorded_step(NETWORK, parameters, get_method(method), 0, storage, chunk=4, windows=windows)
    for name, tensor in device_step(NETWORK, parameters, get_method(method), 0, episodes, chunk=4).items():
        torch.testing.assert_close(divided[name], tensor, rtol=2e-5, atol=2e-6)
    buffers = step_program(layers, Workload(9, 4), windows=windows).buffers
    mask = parameters["layer2.weight.mask"]
    sizes = [int(mask[:, :4].sum()), int(mask[:, 4:].sum())] if method == "maml" else [4 * 7, 5 * 7]
    assert [buffers[f"window{number}.layer2.weight.sum"].size for number in (1, 2)] == sizes


def test_sums_of_a_stream_are_those_of_the_kept_weights() -> None:
    """ANIL with a baseline of time: an eligibility and the sums of five columns for each number that adapts."""
    parameters = device_parameters(NETWORK, "anil")
    programs = [
        stream_program(device_layers(NETWORK, each, get_method("anil"), 0), 20, Estimator(0.9, 1.0, "time"))
        for each in (parameters, pruned(parameters, NETWORK))
    ]
    kept = kept_weights(pruned(parameters, NETWORK), NETWORK)["layer3"]
    dense, sparse = (each.buffers["layer3.weight.traces"].bytes for each in programs)
    assert (dense, sparse) == (4 * 6 * 7 * 3, 4 * 6 * kept)


def test_a_layer_without_weights_left_adapts_its_bias() -> None:
    parameters = device_parameters(NETWORK, "maml")
    name = weight_names(NETWORK)[1]
    empty = masked(parameters | {name + MASK: torch.zeros_like(parameters[name])})
    adapted = device_step(NETWORK, empty, get_method("maml"), 0, random_samples(NETWORK, (5,)), 2)
    assert not adapted[name].any()
