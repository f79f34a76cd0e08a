"""Controller.adapt as a user meets it: episodes in, adapted controller out, and what is refused."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from device_problems import device_controller, device_parameters, training_batch

from metarl.inner_loop import as_leaves, inner_step
from metarl.policies.controller import Controller
from metarl.policies.device.episodes import advantages_per_episode, checked_episodes
from metarl.policies.device.meter import Meter
from metarl.policies.device.step import device_step
from metarl.policies.device.workload import Estimator
from metarl.policies.methods import ABLATIONS, STEP_SIZES, get_method
from metarl.policies.networks.mlp import GaussianMLP

NETWORK = GaussianMLP(observation_size=3, hidden_sizes=(6, 5), action_size=2)


@pytest.fixture
def controller() -> Controller:
    return device_controller(NETWORK, "p-meta", device_parameters(NETWORK, "p-meta", inner_steps=2))


def episode(length: int, seed: int = 0) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {
        "observations": random.standard_normal((length, 3)),
        "actions": random.standard_normal((length, 2)),
        "rewards": random.standard_normal(length),
    }


EPISODES = [episode(9, 0), episode(4, 1), episode(12, 2)]


def test_adapt_is_the_device_step_on_the_advantages(controller) -> None:
    samples = advantages_per_episode(checked_episodes(EPISODES, NETWORK), Estimator(0.9, 0.8))
    advantages = np.concatenate([each.advantages for each in samples])
    np.testing.assert_allclose([advantages.mean(), advantages.std()], [0, 1], atol=1e-5)
    for step in (0, 1):
        expected = device_step(NETWORK, controller.parameters, get_method("p-meta"), step, samples)
        adapted = controller.adapt(EPISODES, step)
        assert all(torch.equal(adapted.parameters[name], tensor) for name, tensor in expected.items())
        assert adapted.network == controller.network
        assert adapted.metadata == replace(controller.metadata, adapted_to={})


def test_advantages_by_hand() -> None:
    """Three episodes of one step each, which the baseline cannot tell apart: it is their mean."""
    episodes = [{"observations": [[0.0]], "actions": [[0.0]], "rewards": [reward]} for reward in (1.0, 3.0, 5.0)]
    samples = advantages_per_episode(checked_episodes(episodes, GaussianMLP(1, (), 1)), Estimator(0.5, 1.0))
    expected = np.array([-2, 0, 2]) / math.sqrt(8 / 3)
    np.testing.assert_allclose([each.advantages for each in samples], expected[:, np.newaxis], atol=1e-4)


def test_chunks_change_the_memory_and_not_the_result(controller) -> None:
    whole, chunked = Meter(), Meter()
    episodes = [episode(90, 0), episode(40, 1)]
    first, second = controller.adapt(episodes, meter=whole), controller.adapt(episodes, chunk=2, meter=chunked)
    assert chunked.peak < whole.peak
    for name, tensor in first.parameters.items():
        torch.testing.assert_close(second.parameters[name], tensor)
    assert not torch.equal(first.parameters["layer1.weight"], controller.parameters["layer1.weight"])


def test_adapt_takes_lists_arrays_and_tensors(controller) -> None:
    expected = controller.adapt([episode(9)]).parameters
    for convert in (np.ndarray.tolist, torch.from_numpy, lambda array: np.asfortranarray(array, np.float32)):
        adapted = controller.adapt([{part: convert(array) for part, array in episode(9).items()}]).parameters
        assert all(torch.equal(adapted[name], tensor) for name, tensor in expected.items())


def test_adapt_takes_a_file_of_arrays(controller, tmp_path) -> None:
    np.savez(tmp_path / "episode.npz", **episode(9), note="from the robot")
    expected = controller.adapt([episode(9)]).parameters
    with np.load(tmp_path / "episode.npz") as file:
        adapted = controller.adapt([file]).parameters
    assert all(torch.equal(adapted[name], tensor) for name, tensor in expected.items())


def changed(**parts: Any) -> dict[str, Any]:
    return {part: value for part, value in {**episode(9), **parts}.items() if value is not None}


@pytest.mark.parametrize(
    ("episodes", "sentence"),
    [
        ([], "there is no episode to adapt to"),
        (None, "must be a list with one entry per episode, got NoneType"),
        (episode(9), "must be a list with one entry per episode, got dict"),
        ([episode(9), 3], "episode 2 must be a mapping with observations, actions, rewards, got int"),
        ([episode(9), changed(rewards=None)], "episode 2 lacks its rewards"),
        ([changed(actions=None)], "episode 1 lacks its actions"),
        ([episode(9), episode(0)], "episode 2 is empty"),
        (
            [changed(observations=[], actions=[], rewards=[])],
            r"observations must have the shape \[time, 3\], got \[0\]",
        ),
        ([changed(observations=np.zeros((9, 4)))], r"observations must have the shape \[time, 3\], got \[9, 4\]"),
        ([changed(actions=np.zeros((9, 1)))], r"actions must have the shape \[time, 2\], got \[9, 1\]"),
        ([changed(rewards=np.zeros((9, 1)))], r"rewards must have the shape \[time\], got \[9, 1\]"),
        ([changed(rewards=1.0)], r"rewards must have the shape \[time\], got \[\]"),
        ([changed(rewards=np.zeros(8))], "got 9 observations, 9 actions, 8 rewards"),
        ([changed(observations=np.zeros((10, 3)))], "got 10 observations, 9 actions, 9 rewards"),
        ([changed(rewards=[math.nan] * 9)], "episode 1: the rewards hold a NaN or an infinite number"),
        ([changed(actions=np.full((9, 2), -math.inf))], "episode 1: the actions hold a NaN"),
        ([changed(observations=np.full((9, 3), 1e300))], "episode 1: the observations hold a NaN or an infinite"),
        ([changed(rewards=["a"] * 9)], "episode 1: the rewards must be an array of numbers"),
        ([changed(observations=[[1.0], [1.0, 2.0]])], "episode 1: the observations must be an array of numbers"),
        ([changed(observations=np.full((9, 3), 3e38))], "the advantages are not finite"),
        ([changed(actions=np.full((9, 2), 3e38))], "the adapted parameters are not finite"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_bad_episodes_are_refused(controller, episodes, sentence) -> None:
    before = {name: tensor.clone() for name, tensor in controller.parameters.items()}
    with pytest.raises(ValueError, match=sentence):
        controller.adapt(episodes)
    assert all(torch.equal(controller.parameters[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize("step", [-1, 2])
def test_a_step_that_the_controller_does_not_have(controller, step) -> None:
    with pytest.raises(ValueError, match=f"has the inner steps 0 to 1, got step {step}"):
        controller.adapt(EPISODES, step)


def test_a_chunk_of_nothing(controller) -> None:
    with pytest.raises(ValueError, match="a chunk has at least 1 observation, got 0"):
        controller.adapt(EPISODES, chunk=0)


@pytest.mark.parametrize("missing", [STEP_SIZES, "attention.layer2.backward.fc2.bias"])
def test_a_controller_that_cannot_be_adapted(controller, missing) -> None:
    parameters = {name: tensor for name, tensor in controller.parameters.items() if name != missing}
    with pytest.raises(ValueError, match=f"cannot be adapted: p-meta needs its '{missing}'"):
        Controller(parameters, NETWORK, controller.metadata).adapt(EPISODES)


@pytest.mark.parametrize("method", ABLATIONS)
def test_ablations_are_adapted_or_refused_never_wrongly(method: str) -> None:
    ablation = ABLATIONS[method]
    controller = device_controller(NETWORK, method, device_parameters(NETWORK, method))
    if ablation.channel_step_sizes or ablation.attention.weighs == "activations":
        with pytest.raises(ValueError, match=f"cannot be adapted on a device: {method} is for comparison only"):
            controller.adapt(EPISODES)
        return
    samples = advantages_per_episode(checked_episodes(EPISODES, NETWORK), Estimator(0.9, 0.8))
    expected = inner_step(
        NETWORK, as_leaves(controller.parameters), ablation, 0, training_batch(samples), second_order=False
    ).parameters
    adapted = controller.adapt(EPISODES).parameters
    for name, tensor in expected.items():
        torch.testing.assert_close(adapted[name], tensor.detach(), atol=1e-5, rtol=1e-4)
