"""The on-device step against the training's inner step and against numbers worked by hand."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from contexts import suited
from device_problems import device_parameters, random_samples, training_batch
from hypothesis import given, settings
from hypothesis import strategies as st

from metarl.inner_loop import as_leaves, inner_step
from metarl.policies.attention import ATTENTION_BOUND, Modules
from metarl.policies.device.network import Samples
from metarl.policies.device.step import device_step
from metarl.policies.methods import METHODS, STEP_SIZES, get_method
from metarl.policies.networks.mlp import CategoricalMLP, GaussianMLP, PolicyNetwork
from metarl.policies.networks.network import Parameters

NETWORK = GaussianMLP(observation_size=5, hidden_sizes=(9, 7), action_size=3)


def training_step(network: PolicyNetwork, parameters: Parameters, method: str, step: int, episodes: list[Samples]):
    batch = training_batch(episodes) if network.choices is None else training_batch(episodes, action=0)
    adapted = inner_step(network, as_leaves(parameters), get_method(method), step, batch, second_order=False).parameters
    return {name: tensor.detach() for name, tensor in adapted.items()}


def assert_same(adapted: Parameters, expected: Parameters) -> None:
    assert adapted.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(adapted[name], tensor, rtol=2e-5, atol=2e-6, msg=lambda text, name=name: name + text)


def test_a_linear_policy_by_hand() -> None:
    """mean = 2 o + 1, std 1/2: z = 2 (mean - a), g(mean) = 2 z A, g(w) = o g(mean), g(log std) = (1 - z^2) A."""
    parameters = {
        "layer1.weight": torch.tensor([[2.0]]),
        "layer1.bias": torch.tensor([1.0]),
        "layer1.log_std": torch.tensor([math.log(0.5)]),
        STEP_SIZES: torch.tensor([[0.1]]),
    }
    episode = Samples(*(np.array(part, np.float32) for part in ([[1.0], [-1.0]], [[2.5], [0.0]], [3.0, -1.0])))
    # means 3 and -1, z = 1 and -2, g(mean) = 6 and 4, g(log std) = 0 and 3; averaged over two time steps
    adapted = device_step(GaussianMLP(1, (), 1), parameters, get_method("maml"), 0, [episode])
    assert adapted["layer1.weight"].tolist() == [[pytest.approx(2 - 0.1 * (6 - 4) / 2)]]
    assert adapted["layer1.bias"].tolist() == [pytest.approx(1 - 0.1 * (6 + 4) / 2)]
    assert adapted["layer1.log_std"].tolist() == [pytest.approx(math.log(0.5) - 0.1 * 3 / 2)]


def test_a_choice_by_hand() -> None:
    """Logits [o, 0] with o = log 3 and 0: softmax [3/4, 1/4] and [1/2, 1/2], g(logits) = (softmax - one-hot) A."""
    parameters = {
        "layer1.weight": torch.tensor([[1.0], [0.0]]),
        "layer1.bias": torch.tensor([0.0, 0.0]),
        STEP_SIZES: torch.tensor([[0.1]]),
    }
    episode = Samples(*(np.array(part, np.float32) for part in ([[math.log(3)], [0.0]], [[1.0], [0.0]], [2.0, -1.0])))
    # g(logits) = 2 [3/4, -3/4] and -[-1/2, 1/2]; averaged over two time steps
    adapted = device_step(CategoricalMLP(1, (), 2), parameters, get_method("maml"), 0, [episode])
    slope = math.log(3) * 1.5 / 2
    np.testing.assert_allclose(adapted["layer1.weight"], [[1 - 0.1 * slope], [0.1 * slope]], rtol=1e-6)
    np.testing.assert_allclose(adapted["layer1.bias"], [-0.1 * (1.5 + 0.5) / 2, 0.1 * (1.5 + 0.5) / 2], rtol=1e-6)


@pytest.mark.parametrize("chunk", [None, 6])
@pytest.mark.parametrize("method", METHODS)
def test_choices_equal_the_training(method: str, chunk: int | None) -> None:
    network = suited(CategoricalMLP(5, (9, 7), 4), method)
    parameters = ours = expected = device_parameters(network, method, inner_steps=2)
    for step in range(2):
        episodes = random_samples(network, (14, 3, 20), seed=step)
        ours = device_step(network, ours, get_method(method), step, episodes, chunk)
        expected = training_step(network, expected, method, step, episodes)
        assert not torch.equal(expected["layer3.bias"], parameters["layer3.bias"]) or method in ("cavia", "boil")
    assert_same(ours, expected)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**31 - 1),
    hidden=st.lists(st.integers(1, 12), max_size=3),
    lengths=st.lists(st.integers(1, 25), min_size=1, max_size=4),
    chunk=st.none() | st.integers(1, 30),
    frozen=st.sets(st.integers(0, 3)),
    activation=st.sampled_from(["relu", "tanh"]),
)
def test_equals_the_training(method, seed, hidden, lengths, chunk, frozen, activation) -> None:
    network = suited(GaussianMLP(4, tuple(hidden), 2, activation=activation), method)
    parameters = device_parameters(network, method, seed, [layer for layer in frozen if layer <= len(hidden)])
    episodes = random_samples(network, lengths, seed)
    adapted = device_step(network, parameters, get_method(method), 0, episodes, chunk)
    assert_same(adapted, training_step(network, parameters, method, 0, episodes))


@pytest.mark.parametrize("chunk", [None, 6])
@pytest.mark.parametrize("seed", range(5))
def test_small_attention_modules_with_bounded_logits(seed: int, chunk: int | None) -> None:
    parameters = device_parameters(NETWORK, "p-meta", seed, modules=Modules(rank=2, bound=0.7))
    assert parameters["attention.layer2.forward.fc1.weight"].shape[0] == 2
    episodes = random_samples(NETWORK, (14, 3, 20), seed)
    adapted = device_step(NETWORK, parameters, get_method("p-meta"), 0, episodes, chunk)
    assert_same(adapted, training_step(NETWORK, parameters, "p-meta", 0, episodes))
    unbounded = {name: each for name, each in parameters.items() if name != ATTENTION_BOUND}
    other = device_step(NETWORK, unbounded, get_method("p-meta"), 0, episodes, chunk)
    assert not torch.equal(other["layer2.weight"], adapted["layer2.weight"])


@pytest.mark.parametrize("chunk", [None, 6])
@pytest.mark.parametrize("method", METHODS)
def test_several_steps(method: str, chunk: int | None) -> None:
    network = suited(NETWORK, method)
    parameters = device_parameters(network, method, inner_steps=3)
    parameters[STEP_SIZES][1] *= torch.tensor([0.0, 1.0, 0.0])
    ours = expected = parameters
    for step in range(3):
        episodes = random_samples(network, (14, 3, 20), seed=step)
        ours = device_step(network, ours, get_method(method), step, episodes, chunk)
        expected = training_step(network, expected, method, step, episodes)
        moved = [name for name in expected if not torch.equal(expected[name], parameters[name])]
        assert moved or (method == "anil" and step == 1)
    assert_same(ours, expected)


def test_backward_scores_can_drop_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from metarl.policies.attention import Attention

    for clips in ((0.3, 0.4), (None, 0.4), (0.3, None)):
        monkeypatch.setitem(METHODS, "p-meta", replace(METHODS["p-meta"], attention=Attention(*clips)))
        parameters, episodes = device_parameters(NETWORK, "p-meta"), random_samples(NETWORK, (14, 3, 20))
        for chunk in (None, 6):
            adapted = device_step(NETWORK, parameters, get_method("p-meta"), 0, episodes, chunk)
            assert_same(adapted, training_step(NETWORK, parameters, "p-meta", 0, episodes))


def test_a_step_without_step_sizes_changes_nothing() -> None:
    parameters = device_parameters(NETWORK, "p-meta", frozen=(0, 1, 2))
    adapted = device_step(NETWORK, parameters, get_method("p-meta"), 0, random_samples(NETWORK, (14,)))
    assert all(adapted[name] is tensor for name, tensor in parameters.items())


def test_the_parameters_and_the_episodes_stay_as_they_were() -> None:
    parameters, episodes = device_parameters(NETWORK, "p-meta"), random_samples(NETWORK, (14, 3))
    device_step(NETWORK, parameters, get_method("p-meta"), 0, episodes, chunk=5)
    for name, tensor in device_parameters(NETWORK, "p-meta").items():
        assert torch.equal(parameters[name], tensor), name
    for episode, before in zip(episodes, random_samples(NETWORK, (14, 3)), strict=True):
        assert all(np.array_equal(*parts) for parts in zip(episode, before, strict=True))


def test_adapting_needs_no_simulator_and_no_training_code() -> None:
    program = """
import sys
import metarl.policies.recorder
import metarl.policies.device.step
rooms = {name.split(".")[1] for name in sys.modules if name.startswith("metarl.")}
assert rooms <= {"core", "policies"}, rooms
assert not {"mujoco", "gymnasium"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True)
