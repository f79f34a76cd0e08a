import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

import metarl.policies
from metarl.policies.networks.mlp import GaussianMLP
from metarl.policies.networks.network import Parameters

TINY = GaussianMLP(observation_size=2, hidden_sizes=(2,), action_size=1, initial_std=0.5)


def tiny_parameters() -> Parameters:
    return {
        "layer1.weight": torch.tensor([[1.0, 2.0], [-1.0, 1.0]]),
        "layer1.bias": torch.tensor([0.5, -3.0]),
        "layer2.weight": torch.tensor([[2.0, 4.0]]),
        "layer2.bias": torch.tensor([-1.0]),
        "layer2.log_std": torch.tensor([0.0]),
    }


def test_forward_and_trace_by_hand():
    # (1, 2):  y1 = (1 + 4 + 0.5, -1 + 2 - 3) = (5.5, -2), x1 = (5.5, 0), y2 = 2 * 5.5 - 1 = 10
    # (-1, 3): y1 = (-1 + 6 + 0.5, 1 + 3 - 3) = (5.5, 1),  x1 = (5.5, 1), y2 = 2 * 5.5 + 4 * 1 - 1 = 14
    mean, trace = TINY(tiny_parameters(), torch.tensor([[1.0, 2.0], [-1.0, 3.0]]))
    assert mean.tolist() == [[10.0], [14.0]]
    assert list(trace) == ["layer1", "layer2"]
    assert trace["layer1"].input.tolist() == [[1.0, 2.0], [-1.0, 3.0]]
    assert trace["layer1"].output.tolist() == [[5.5, -2.0], [5.5, 1.0]]
    assert trace["layer2"].input.tolist() == [[5.5, 0.0], [5.5, 1.0]]
    assert trace["layer2"].output.tolist() == [[10.0], [14.0]]


def test_one_network_per_task_equals_each_network_alone():
    network = GaussianMLP(3, (5, 4), 2)
    generator = torch.Generator().manual_seed(1)
    tasks = [
        {name: torch.randn(shape, generator=generator) for name, shape in network.parameter_shapes.items()}
        for _ in range(3)
    ]
    observations = torch.randn(3, 7, 3, generator=generator)
    stacked = {name: torch.stack([task[name] for task in tasks]) for name in tasks[0]}
    mean, trace = network(stacked, observations)
    assert mean.shape == (3, 7, 2)
    assert network.log_std(stacked).shape == (3, 2)
    for index, task in enumerate(tasks):
        mean_alone, trace_alone = network(task, observations[index])
        np.testing.assert_allclose(mean[index], mean_alone, rtol=1e-5, atol=1e-6)
        for name in network.layer_names:
            np.testing.assert_allclose(trace[name].input[index], trace_alone[name].input, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(trace[name].output[index], trace_alone[name].output, rtol=1e-5, atol=1e-6)


def test_initial_parameters():
    network = GaussianMLP(20, (100, 100), 6, initial_std=0.5)
    parameters = network.initial_parameters(torch.Generator().manual_seed(0))
    again = network.initial_parameters(torch.Generator().manual_seed(0))
    assert {name: tuple(tensor.shape) for name, tensor in parameters.items()} == network.parameter_shapes
    assert all(torch.equal(parameters[name], again[name]) for name in parameters)
    # Xavier: uniform up to sqrt(6 / (inputs + outputs)), whose variance is a third of its square.
    for name, inputs, outputs in (("layer1", 20, 100), ("layer2", 100, 100), ("layer3", 100, 6)):
        weight = parameters[f"{name}.weight"]
        bound = math.sqrt(6 / (inputs + outputs))
        assert 0.95 * bound < weight.abs().max() <= bound
        np.testing.assert_allclose(weight.var(), bound**2 / 3, rtol=0.1)
        assert not parameters[f"{name}.bias"].any()
    np.testing.assert_allclose(network.log_std(parameters), np.full(6, math.log(0.5)), rtol=1e-6)


def test_policies_need_no_simulator_and_no_training_code():
    """What runs on a device imports policies and nothing of mujoco, gymnasium or the training."""
    modules = [f"metarl.policies.{file.stem}" for file in Path(metarl.policies.__file__).parent.glob("[!_]*.py")]
    assert "metarl.policies.controller" in modules
    code = f"import importlib, sys; [importlib.import_module(name) for name in {modules}]; print(*sys.modules)"
    search_path = [str(Path(folder).parent) for folder in metarl.__path__[:1]]
    code = f"import sys; sys.path[:0] = {search_path}; {code}"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "metarl.policies.controller" in loaded
    foreign = [
        name
        for name in loaded
        if name.startswith("metarl.") and not name.startswith(("metarl.core", "metarl.policies"))
    ]
    assert foreign == []
    assert not {"mujoco", "gymnasium", "stable_baselines3"} & set(loaded)
