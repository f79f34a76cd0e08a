"""What follows from a network's layers agrees with them, for every network of the table and over random sizes."""

from collections import Counter
from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from toy_backbone import ToyBackbone

from metarl.cost.memory import LayerUpdate, Workload, adaptation_moments, layer_memories
from metarl.cost.operations import cost, forward_macs
from metarl.policies.device.images.blocks import blocks_of
from metarl.policies.files.checks import check_parameters
from metarl.policies.networks.conv4 import Conv4
from metarl.policies.networks.integers import IntegerMLP
from metarl.policies.networks.mlp import CategoricalMLP, GaussianMLP
from metarl.policies.networks.network import Network
from metarl.policies.networks.registry import NETWORKS, backbones, kind_of
from metarl.policies.networks.resnet12 import ResNet12

SIZES = st.integers(1, 6)
SIDES = st.integers(16, 40)
WIDTHS = st.sampled_from([8, 16, 24])
NORMS = st.sampled_from(["group", "batch"])
STRATEGIES: dict[str, st.SearchStrategy[Network]] = {
    "gaussian-mlp": st.builds(GaussianMLP, SIZES, st.lists(SIZES, max_size=3).map(tuple), SIZES, st.just(0.5)),
    "categorical-mlp": st.builds(
        CategoricalMLP, SIZES, st.lists(SIZES, max_size=3).map(tuple), st.integers(2, 6), st.just(0)
    ),
    "conv4": st.builds(Conv4, SIDES, SIZES, WIDTHS, NORMS, st.sampled_from(["max", "average"])),
    "resnet12": st.builds(ResNet12, SIDES, SIZES, st.tuples(*[WIDTHS] * 4), NORMS),
}
ANY = st.one_of(*STRATEGIES.values(), st.builds(ToyBackbone, SIDES, SIZES, WIDTHS, NORMS))


def inputs_of(network: Network, samples: int = 1) -> Tensor:
    first = network.layers[0]
    shape = (first.inputs,) if network.takes == "observations" else (first.inputs, first.side, first.side)
    return torch.rand(samples, *shape)


def initial(network: Network) -> dict[str, Tensor]:
    return network.initial_parameters(torch.Generator().manual_seed(0))


def test_the_table() -> None:
    # A network of integers has no random parameters; test_integers tells of its sizes and its file.
    assert {*STRATEGIES, "int8-mlp"} == NETWORKS.keys(), "a new network needs a strategy here"
    assert backbones() == ("conv4", "resnet12")
    networks = GaussianMLP(2, (3,), 1), CategoricalMLP(2, (3,), 2), IntegerMLP(2, (3,), 1), Conv4(), ResNet12()
    assert [kind_of(network) for network in networks] == list(NETWORKS)
    with pytest.raises(ValueError, match="must be a row of NETWORKS to have a kind, and ToyBackbone is none"):
        kind_of(ToyBackbone())


@given(ANY)
@settings(max_examples=40)
def test_the_forward_pass_runs_the_stated_sizes(network: Network) -> None:
    output, trace = network(initial(network), inputs_of(network))
    assert tuple(trace) == network.layer_names
    assert output.shape == (1, network.layers[-1].outputs)
    for layer in network.layers:
        assert (layer.input_words, layer.output_words) == tuple(tensor.numel() for tensor in trace[layer.name])


@given(ANY)
@settings(max_examples=30)
def test_a_file_holds_the_stated_parameters_and_no_others(network: Network) -> None:
    parameters = initial(network)
    assert {name: tuple(tensor.shape) for name, tensor in parameters.items()} == network.parameter_shapes
    for layer in network.layers:
        own = [tensor for name, tensor in parameters.items() if name.rpartition(".")[0] == layer.name]
        assert layer.parameters == sum(tensor.numel() for tensor in own)
        assert layer.parameter_bytes == sum(tensor.nbytes for tensor in own)
    check_parameters(parameters, network, inner_steps=1)
    for name, tensor in parameters.items():
        with pytest.raises(ValueError, match=f"'{name}' is missing"):
            check_parameters({other: each for other, each in parameters.items() if other != name}, network, 1)
        with pytest.raises(ValueError, match=f"'{name}' must have the shape"):
            check_parameters(parameters | {name: tensor.unsqueeze(0)}, network, 1)
    with pytest.raises(ValueError, match="unknown parameter"):
        check_parameters(parameters | {"layer0.weight": torch.zeros(1)}, network, 1)


@given(ANY)
@settings(max_examples=40)
def test_the_cost_is_that_of_the_stated_layers(network: Network) -> None:
    """PyTorch's own counter sees two operations per multiply-accumulate of linear layers and convolutions."""
    parameters, layers = initial(network), network.layers
    result = cost(layers, [{layer.name: LayerUpdate() for layer in layers}], Workload(1, 2))
    assert result.static_bytes == sum(tensor.nbytes for tensor in parameters.values())
    assert [layer.parameter_bytes for layer in result.peak_step.layers] == [layer.parameter_bytes for layer in layers]
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(parameters, inputs_of(network))
    products = sum(layer.positions * layer.weights for layer in layers if not layer.is_norm)
    assert counter.get_total_flops() == 2 * products
    assert products <= sum(map(forward_macs, layers))


@given(ANY)
@settings(max_examples=40)
def test_the_cost_model_keeps_what_the_trace_holds(network: Network) -> None:
    """When every layer is updated, each traced input is kept whole; all are alive when the backward pass begins."""
    plan, workload = {layer.name: LayerUpdate() for layer in network.layers}, Workload(1, 2)
    _, trace = network(initial(network), inputs_of(network))
    memories = layer_memories(network.layers, plan, workload)
    assert [memory.stored_input for memory in memories] == [traced.input.nbytes for traced in trace.values()]
    moments = {moment.name: moment.bytes for moment in adaptation_moments(network.layers, plan, workload)}
    begins = moments[f"backward {network.layer_names[-1]}: weight gradient"]
    alive = sum(memory.stored_input + memory.bits for memory in memories) + memories[-1].output
    assert begins == alive + sum(layer.parameter_bytes for layer in network.layers)


@given(st.one_of(*(STRATEGIES[kind] for kind in backbones()), st.builds(ToyBackbone, SIDES, SIZES, WIDTHS)))
def test_the_blocks_of_a_device_cover_the_layers(network: Network) -> None:
    *body, last = network.layers
    if any(layer.kind == "batch_norm" for layer in body):
        with pytest.raises(ValueError, match="group norm follows"):
            blocks_of(network.layers)
        return
    blocks = blocks_of(network.layers)
    units = [unit for block in blocks for unit in (*block.units, *([block.shortcut] if block.shortcut else []))]
    assert [index for unit in units for index in unit] == list(range(len(body)))
    assert last.kind == "linear"
    side = body[0].side
    for block in blocks:
        stated = [network.layers[index] for index in range(block.first, block.last + 1)]
        assert {layer.side for layer in stated} == {side}
        roles = Counter(layer.residual for layer in stated if layer.residual)
        assert roles == ({"fork": 1, "shortcut": 1, "join": 1} if block.shortcut else {})
        side = side // 2 if stated[-1].pooling else side
    assert (last.inputs, last.side) == (prod((body[-1].outputs, *([side**2] * (last.reduction == "flatten")))), side)
