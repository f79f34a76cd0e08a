"""The inner step in integers against a float64 re-implementation, and what it takes."""

import numpy as np
import pytest
import torch
from integer_problems import integer_controller, integer_episodes

from metarl.core.errors import Refusal
from metarl.policies.controller import Controller, estimator_of
from metarl.policies.device.episodes import advantages_per_episode, checked_episodes
from metarl.policies.device.integers.kernels import add_weight_integers, hidden_integers
from metarl.policies.device.integers.layer import integer_layers
from metarl.policies.device.meter import Meter
from metarl.policies.device.run import Run
from metarl.policies.methods import get_method
from metarl.policies.networks.fixed_point import Dice, Fraction
from metarl.policies.networks.mlp import GaussianMLP


def dequantized(controller: Controller) -> Controller:
    """The float policy whose numbers the integers stand for."""
    own, network = controller.parameters, controller.network
    parameters = {name: each for name, each in own.items() if name not in network.parameter_shapes}
    for index, layer in enumerate(network.layer_names):
        scale, inputs = own[f"{layer}.weight_scale"], own[f"{layer}.input_scale"]
        parameters[f"{layer}.weight"] = own[f"{layer}.weight"] * scale / (inputs if index == 0 else 1)
        parameters[f"{layer}.bias"] = own[f"{layer}.bias"] * scale * (1 if index == 0 else inputs)
    parameters["layer3.log_std"] = own["layer3.log_std"]
    return Controller(parameters, GaussianMLP(3, network.hidden_sizes, 2), controller.metadata)


def expected_sums(controller: Controller, method: str) -> dict[str, np.ndarray]:
    """Each weight's and bias's mean gradient in float64: of the integers that the layers really see."""
    layers = integer_layers(controller.network, controller.parameters, get_method(method), 0)
    checked = checked_episodes(integer_episodes(), controller.network)
    totals: dict[str, np.ndarray] = {}
    for samples in advantages_per_episode(checked, estimator_of(controller.metadata)):
        x = np.clip(np.rint(samples.observations / layers[0].input_scales), -127, 127).astype(np.float64)
        inputs = [x]
        for layer in layers[:-1]:
            assert isinstance(layer.forward, Fraction)
            factor = layer.forward.multiplier / 2.0**layer.forward.shift
            x = np.clip(np.floor((x @ layer.weight.T + layer.bias) * factor + 0.5), 0, 127)
            inputs.append(x)
        mean = (x @ layers[-1].weight.T.astype(np.float64) + layers[-1].bias) * layers[-1].sum_scale
        std = np.exp(controller.parameters["layer3.log_std"].numpy().astype(np.float64))
        gradient = (mean - samples.actions) / std**2 * samples.advantages[:, None]
        for index in (2, 1, 0):
            layer = layers[index]
            unit = layer.input_scales.astype(np.float64)
            total = gradient.T @ (inputs[index] * unit)
            totals[f"{layer.name}.weight"] = totals.get(f"{layer.name}.weight", 0) + total
            totals[f"{layer.name}.bias"] = totals.get(f"{layer.name}.bias", 0) + gradient.sum(axis=0)
            gradient = (gradient @ layer.weight * layer.weight_scale) * (inputs[index] > 0)
    return totals


@pytest.mark.parametrize("bits", [8, 16])
def test_the_mean_step_over_many_seeds_is_the_float64_gradient(bits: int) -> None:
    """Rounding by chance has no bias: averaged over seeds, the integers move as the float gradient says."""
    controller, seeds = integer_controller(gradient_bits=bits, step_size=0.02), 60
    layers = integer_layers(controller.network, controller.parameters, get_method("maml"), 0)
    totals, steps = expected_sums(controller, "maml"), 26
    moved = {name: np.zeros(total.shape) for name, total in totals.items()}
    for seed in range(seeds):
        adapted = controller.adapt(integer_episodes(), seed=seed)
        for name in moved:
            moved[name] += (
                adapted.parameters[name].numpy().astype(float) - controller.parameters[name].numpy()
            ) / seeds
    for index, layer in enumerate(layers):
        factor = layer.input_scales.astype(np.float64) if index == 0 else 1.0
        weights = -0.02 / steps * totals[f"{layer.name}.weight"] * factor / layer.weight_scale
        biases = -0.02 / steps * totals[f"{layer.name}.bias"] / layer.sum_scale
        inside = np.abs(controller.parameters[f"{layer.name}.weight"].numpy()) < 120  # others may meet the largest int8
        error = np.abs(moved[f"{layer.name}.weight"] - weights)[inside]
        assert error.max() < 4 * (0.5 + 0.05 * np.abs(weights).max()) / np.sqrt(seeds) + 0.02 * np.abs(weights).max()
        np.testing.assert_allclose(moved[f"{layer.name}.bias"], biases, atol=0.4 + 0.03 * np.abs(biases).max())


def test_hidden_layers_worked_by_hand() -> None:
    controller = integer_controller(hidden=(2, 2))
    own = controller.parameters | {
        "layer2.weight": torch.tensor([[10, -20], [-5, 1]], dtype=torch.int8),
        "layer2.bias": torch.tensor([7, 900], dtype=torch.int32),
        "layer2.weight_scale": torch.tensor(0.5),
        "layer2.input_scale": torch.tensor(0.25),
        "layer3.input_scale": torch.tensor(1.0),
    }
    layer = integer_layers(controller.network, own, get_method("maml"), 0)[1]
    output = np.zeros((2, 2), np.int8)
    hidden_integers(Run({}, 0), layer, np.array([[30, 4], [1, 100]], np.int8), output)
    # (300 - 80 + 7) / 8 = 28.375, (-150 + 4 + 900) / 8 = 94.25; (10 - 2000 + 7) / 8 < 0, (-5 + 100 + 900) / 8 = 124.4
    assert output.tolist() == [[28, 94], [0, 124]]


def test_sums_are_the_same_integers_in_any_order() -> None:
    controller = integer_controller()
    layer = integer_layers(controller.network, controller.parameters, get_method("maml"), 0)[1]
    random = np.random.default_rng(0)
    inputs = random.integers(0, 128, (40, 7)).astype(np.int8)
    gradient = random.integers(-127, 128, (40, 5)).astype(np.int8)
    results = []
    for order in (np.arange(40), random.permutation(40)):
        total = np.zeros((7, 5), np.int16)
        run = Run({}, 0, dice=Dice(5))
        add_weight_integers(run, layer, inputs[order], gradient[order], None, None, None, total)
        results.append(total)
    np.testing.assert_array_equal(*results)
    exact = inputs.astype(int).T @ gradient.astype(int) / 2**layer.sum_shift
    assert np.abs(results[0] - exact).max() < 1


@pytest.mark.parametrize("method", ["maml", "anil", "boil", "p-meta", "p-meta-layers"])
def test_all_methods_adapt_their_layers_alone_and_reproducibly(method: str) -> None:
    controller = integer_controller(method)
    adapted = controller.adapt(integer_episodes(), seed=3)
    again, other = controller.adapt(integer_episodes(), seed=3), controller.adapt(integer_episodes(), seed=4)
    chosen = get_method(method).updated_layers(controller.network.layers)
    differ = False
    for name, each in adapted.parameters.items():
        assert torch.equal(each, again.parameters[name])
        differ |= not torch.equal(each, other.parameters[name])
        if name.rpartition(".")[0] not in chosen or name.endswith(("scale", "shift")):
            assert torch.equal(each, controller.parameters[name])
    assert differ
    assert any(not torch.equal(each, controller.parameters[name]) for name, each in adapted.parameters.items())


def test_streaming_is_refused() -> None:
    with pytest.raises(Refusal, match="cannot take in a stream"):
        integer_controller().adapt(integer_episodes(), streaming=True)


def test_integers_take_less_than_half_of_what_floats_take() -> None:
    controller = integer_controller(hidden=(100, 100))
    meters = Meter(), Meter()
    for each, meter in zip((dequantized(controller), controller), meters, strict=True):
        each.adapt(integer_episodes(), meter=meter)
    assert meters[1].peak < meters[0].peak / 2
