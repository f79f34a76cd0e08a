"""CAVIA: the inner loop adapts context parameters alone, which are appended to the input or modulate a norm (FiLM)."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from device_problems import device_controller, device_parameters, random_samples
from image_problems import image_parameters
from point_family import TINY, point_family
from small_problems import NETWORK, small_batch, small_parameters
from torch import Tensor
from torch.distributions import Independent, Normal
from torch.nn import functional

import metarl
from metarl.core.errors import Refusal
from metarl.cost.memory import Workload
from metarl.cost.operations import cost, plan_updates
from metarl.images.batch import ImageBatch
from metarl.inner_loop import as_leaves, inner_step
from metarl.policies.device.adaptation import step_program
from metarl.policies.device.meter import Meter
from metarl.policies.device.network import Samples, device_layers
from metarl.policies.device.planner import plan
from metarl.policies.device.step import device_step
from metarl.policies.device.workload import Workload as DeviceWorkload
from metarl.policies.methods import STEP_SIZES, get_method, trained_names
from metarl.policies.networks.conv4 import Conv4
from metarl.policies.networks.mlp import GaussianMLP
from metarl.policies.networks.network import Parameters
from metarl.policies.networks.resnet12 import ResNet12
from metarl.rl.batch import Batch
from metarl.rl.training import PolicyTraining

CAVIA = get_method("cavia")
POLICY = replace(NETWORK, context_size=3)
CONV4 = Conv4(side=16, ways=3, width=16, context_size=4)


def appended_loss(parameters: Parameters, context: Tensor, batch: Batch) -> Tensor:
    """The policy gradient of a network that takes the context behind each observation, as the paper has it."""
    weight = torch.cat([parameters["layer1.weight"], parameters["layer1.context_weight"]], dim=1)
    inputs = torch.cat([batch.observations, context.expand(len(batch.observations), -1)], dim=1)
    hidden = functional.relu(functional.linear(inputs, weight, parameters["layer1.bias"]))
    hidden = functional.relu(functional.linear(hidden, parameters["layer2.weight"], parameters["layer2.bias"]))
    mean = functional.linear(hidden, parameters["layer3.weight"], parameters["layer3.bias"])
    terms = Independent(Normal(mean, parameters["layer3.log_std"].exp()), 1).log_prob(batch.actions) * batch.advantages
    return -terms[batch.valid].mean()


def film_loss(parameters: Parameters, context: Tensor, batch: ImageBatch) -> Tensor:
    """The cross-entropy of 4Conv with FiLM after the third norm: scales and offsets are affine in the context."""
    hidden = batch.images
    for number in range(1, 5):
        scale, offset = parameters[f"norm{number}.weight"], parameters[f"norm{number}.bias"]
        if number == 3:
            film = functional.linear(context, parameters["norm3.context_weight"])
            scale, offset = scale + film[:16], offset + film[16:]
        hidden = functional.conv2d(hidden, parameters[f"conv{number}.weight"], padding="same")
        hidden = functional.group_norm(hidden, 8, scale, offset)
        hidden = functional.max_pool2d(functional.relu(hidden), 2)
    logits = functional.linear(hidden.flatten(1), parameters["fc.weight"], parameters["fc.bias"])
    return functional.cross_entropy(logits, batch.labels)


def image_batch() -> ImageBatch:
    random = torch.Generator().manual_seed(3)
    return ImageBatch(torch.rand(5, 3, 16, 16, generator=random, dtype=torch.float64), torch.arange(5) % 3)


def stepped(network: GaussianMLP | Conv4, parameters: Parameters, batch: Batch | ImageBatch) -> Parameters:
    taken = inner_step(network, as_leaves(parameters), CAVIA, 0, batch, second_order=False)  # type: ignore[type-var]
    return {name: tensor.detach() for name, tensor in taken.parameters.items()}


def test_a_policys_inner_step_is_that_of_a_context_behind_the_input() -> None:
    parameters, batch = small_parameters("cavia"), small_batch(0)
    context = parameters["layer1.context"].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(appended_loss(parameters, context, batch), context)
    adapted = stepped(POLICY, parameters, batch)
    torch.testing.assert_close(adapted["layer1.context"], context.detach() - 0.5 * gradient)
    assert gradient.abs().min() > 1e-4
    assert {name for name in adapted if not torch.equal(adapted[name], parameters[name])} == {"layer1.context"}


def test_an_image_networks_inner_step_is_that_of_film() -> None:
    parameters = {name: tensor.double() for name, tensor in image_parameters(CONV4, "cavia").items()}
    batch, alpha = image_batch(), float(parameters[STEP_SIZES][0, 5])
    context = parameters["norm3.context"].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(film_loss(parameters, context, batch), context)
    adapted = stepped(CONV4, parameters, batch)
    torch.testing.assert_close(adapted["norm3.context"], context.detach() - alpha * gradient)
    assert {name for name in adapted if not torch.equal(adapted[name], parameters[name])} == {"norm3.context"}


def test_the_inner_gradient_equals_finite_differences() -> None:
    parameters, batch, epsilon = small_parameters("cavia"), small_batch(0), 1e-6

    def loss(context: Tensor) -> float:
        moved = parameters | {"layer1.context": context}
        return float(batch.loss(POLICY, moved, POLICY(moved, batch.observations)[0]))

    context = parameters["layer1.context"]
    units = torch.eye(3, dtype=torch.float64) * epsilon
    slopes = [(loss(context + unit) - loss(context - unit)) / (2 * epsilon) for unit in units]
    taken = (context - stepped(POLICY, parameters, batch)["layer1.context"]) / 0.5
    torch.testing.assert_close(taken, torch.tensor(slopes, dtype=torch.float64), rtol=1e-6, atol=1e-9)


def test_a_context_of_zero_changes_nothing() -> None:
    with_context = POLICY.initial_parameters(torch.Generator().manual_seed(0))
    inputs = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    without = {name: tensor for name, tensor in with_context.items() if "context" not in name}
    assert torch.equal(POLICY(with_context, inputs)[0], NETWORK(without, inputs)[0])
    assert with_context["layer1.context_weight"].any() and not with_context["layer1.context"].any()


def test_parameters_may_have_a_task_axis() -> None:
    each = [small_parameters("cavia", seed=seed) for seed in (1, 2)]
    stacked = {name: torch.stack([parameters[name] for parameters in each]) for name in each[0]}
    inputs = torch.randn(2, 5, 3, dtype=torch.float64)
    expected = torch.stack([POLICY(parameters, task)[0] for parameters, task in zip(each, inputs, strict=True)])
    torch.testing.assert_close(POLICY(stacked, inputs)[0], expected)


def test_a_linear_policy_on_a_device_by_hand() -> None:
    """mean = 2 o + 1 + 3 phi, std 1/2: z = 2 (mean - a), g(b) = 2 z A summed over time, g(phi) = 3 g(b)."""
    parameters = {
        "layer1.weight": torch.tensor([[2.0]]),
        "layer1.bias": torch.tensor([-5.0]),
        "layer1.context_weight": torch.tensor([[3.0]]),
        "layer1.context": torch.tensor([2.0]),
        "layer1.log_std": torch.tensor([math.log(0.5)]),
        STEP_SIZES: torch.tensor([[0.1]]),
    }
    episode = Samples(*(torch.tensor(part).numpy() for part in ([[1.0], [-1.0]], [[2.5], [0.0]], [3.0, -1.0])))
    # means 3 and -1, z = 1 and -2, g(mean) = 6 and 4; averaged over two time steps
    network = GaussianMLP(1, (), 1, context_size=1)
    adapted = device_step(network, parameters, CAVIA, 0, [episode])
    assert adapted["layer1.context"].tolist() == [pytest.approx(2 - 0.1 * 3 * (6 + 4) / 2)]
    assert all(adapted[name] is tensor for name, tensor in parameters.items() if name != "layer1.context")


def test_the_cost_by_hand() -> None:
    """In work: 100 numbers per observation and two layers' bits, and the gradient of 100 biases."""
    layers = GaussianMLP(20, (100, 100), 6, context_size=5).layers
    found = cost(layers, [plan_updates(layers, ["layer1"])], Workload(200, 20, chunk=20))
    assert found.peak_adaptation_bytes == 4 * 20 * 100 + 2 * (20 * 100 // 8) + 4 * 100
    forward = 4000 * (20 * 100 + 100 * 100 + 100 * 6)
    assert found.adaptation_macs == forward + 4000 * (100 * 100 + 100 * 6) + 2 * 5 * 100
    weights, vectors, context = 20 * 100 + 100 * 100 + 100 * 6, 100 + 100 + 6 + 6, 100 * 5 + 5
    assert found.static_bytes == 4 * (weights + vectors + context)


def test_the_arena_is_as_planned_and_keeps_no_input() -> None:
    network = GaussianMLP(20, (100, 100), 6, context_size=5)
    parameters, meter = device_parameters(network, "cavia"), Meter()
    device_step(network, parameters, CAVIA, 0, random_samples(network, [200] * 3), 20, meter)
    planned = plan(step_program(device_layers(network, parameters, CAVIA, 0), DeviceWorkload(200, 20)))
    assert meter.peak == planned.bytes
    assert not {name for name in planned.program.buffers if name.endswith((".kept", "weight.sum"))}
    assert {name for name in planned.program.buffers if name.endswith(".bits")} == {"layer1.bits", "layer2.bits"}
    ordinary, whole = GaussianMLP(20, (100, 100), 6), Meter()
    maml = device_parameters(ordinary, "maml")
    device_step(ordinary, maml, get_method("maml"), 0, random_samples(ordinary, [200] * 3), 20, whole)
    assert 5 * meter.peak < whole.peak


def test_the_context_is_not_trained_but_its_matrix_is() -> None:
    trained = trained_names(CAVIA, small_parameters("cavia"))
    assert "layer1.context_weight" in trained and "layer1.context" not in trained
    controller = metarl.train(point_family(), settings=replace(TINY, method="cavia", iterations=3, context_size=2))
    assert controller.parameters["layer1.context"].tolist() == [0, 0]


@pytest.mark.parametrize("network", [POLICY, CONV4, ResNet12(side=16, ways=3, widths=(8, 8, 16, 8), context_size=4)])
def test_one_layer_takes_the_context(network: GaussianMLP | Conv4 | ResNet12) -> None:
    (layer,) = (layer for layer in network.layers if layer.context)
    assert layer.name in ("layer1", "norm3", "block3.norm3")
    assert CAVIA.updated_layers(network.layers) == (layer.name,)
    rows = layer.outputs * (2 if layer.is_norm else 1)
    assert network.parameter_shapes[f"{layer.name}.context_weight"] == (rows, network.context_size)


def test_a_file_holds_the_context(tmp_path: Path) -> None:
    network = replace(POLICY, context_size=7)
    controller = device_controller(network, "cavia", device_parameters(network, "cavia"))
    controller.save(tmp_path / "cavia.safetensors")
    loaded = metarl.load(tmp_path / "cavia.safetensors")
    assert loaded.network == network and loaded.parameters.keys() == controller.parameters.keys()
    plain = device_controller(NETWORK, "maml", device_parameters(NETWORK, "maml"))
    plain.save(tmp_path / "maml.safetensors")
    assert b"context_size" in (tmp_path / "cavia.safetensors").read_bytes()
    assert b"context_size" not in (tmp_path / "maml.safetensors").read_bytes()


def test_method_and_network_must_agree_on_a_context() -> None:
    episodes = [{"observations": [[0.0] * 3], "actions": [[0.0] * 2], "rewards": [1.0]}]
    without = device_controller(NETWORK, "cavia", device_parameters(NETWORK, "cavia"))
    with pytest.raises(Refusal, match="cavia adapts a context, and no layer of this network takes one"):
        without.adapt(episodes)  # type: ignore[arg-type]
    other = device_controller(POLICY, "maml", device_parameters(POLICY, "maml"))
    with pytest.raises(Refusal, match="maml adapts layers, and this network takes a context"):
        other.adapt(episodes)  # type: ignore[arg-type]


def test_a_training_starts_with_a_context_of_zero(tmp_path: Path) -> None:
    settings = replace(TINY, method="cavia", iterations=2, context_size=2)
    controller = metarl.train(point_family(), settings=settings)
    moved = controller.parameters | {"layer1.context": torch.tensor([1.0, 2.0])}
    adapted = replace(controller, parameters=moved, metadata=replace(controller.metadata, adapted_to={"target": 0.5}))
    state = PolicyTraining(point_family(), settings, adapted).initial_state()
    assert state.parameters["layer1.context"].tolist() == [0, 0]
    with pytest.raises(Refusal, match="has the context size 2, and the settings ask for 3"):
        PolicyTraining(point_family(), replace(settings, context_size=3), controller)


def test_a_context_of_no_parameters_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="setting 'context_size' must be at least 1, got 0"):
        metarl.train(point_family(), method="cavia", context_size=0, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
