"""An inner step with nothing stored against the step on stored episodes, and what it keeps."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from contexts import suited
from device_problems import device_controller, device_parameters
from hypothesis import given, settings
from hypothesis import strategies as st

from metarl.core.errors import Refusal
from metarl.policies.controller import Controller
from metarl.policies.device.episodes import Episode
from metarl.policies.device.meter import Meter
from metarl.policies.device.network import device_layers
from metarl.policies.device.planner import plan
from metarl.policies.device.stream_program import stream_program
from metarl.policies.device.workload import Estimator
from metarl.policies.gate import GATE, GATE_STATISTICS
from metarl.policies.methods import METHODS, get_method
from metarl.policies.networks.mlp import CategoricalMLP, GaussianMLP, PolicyNetwork
from metarl.policies.normalization import COUNT, MEAN, STD
from metarl.policies.recorder import Recorder

STREAMING = [method for method in METHODS if method != "p-meta"]
NETWORK = GaussianMLP(3, (6, 5), 2)


def toy_controller(method: str, network: PolicyNetwork = NETWORK, seed: int = 0, **metadata: object) -> Controller:
    network = suited(network, method)
    controller = device_controller(network, method, device_parameters(network, method, seed))
    return replace(controller, metadata=replace(controller.metadata, **metadata))


def random_episodes(network: PolicyNetwork, lengths: list[int], seed: int = 0) -> list[Episode]:
    random = np.random.default_rng(seed)
    return [
        Episode(
            observations=random.standard_normal((length, network.observation_size), np.float32),
            actions=network.random_actions(random, length),
            rewards=random.standard_normal(length, np.float32),
        )
        for length in lengths
    ]


def assert_same(streamed: Controller, stored: Controller, before: Controller) -> None:
    """Within 1e-4 of the largest change, and 2e-6 for the rounding of the parameters themselves.

    The largest of all parameters, because one baseline's weights, which may be large and cancel, are in all the sums.
    """
    changes = (expected - before.parameters[name] for name, expected in stored.parameters.items())
    atol = 2e-6 + 1e-4 * max(float(change.abs().max()) for change in changes)
    for name, expected in stored.parameters.items():
        torch.testing.assert_close(streamed.parameters[name], expected, rtol=0, atol=atol, msg=name)


@pytest.mark.parametrize("method", STREAMING)
@pytest.mark.parametrize("baseline", ["full", "time"])
@settings(max_examples=15, deadline=None)
@given(
    hidden=st.lists(st.integers(1, 7), min_size=1, max_size=2),
    sizes=st.tuples(st.integers(1, 4), st.integers(1, 3)),
    lengths=st.lists(st.integers(1, 25), min_size=1, max_size=3),
    discount=st.sampled_from([1.0, 0.99, 0.5]),
    gae_lambda=st.sampled_from([1.0, 0.9, 0.0]),
    seed=st.integers(0, 10_000),
)
def test_it_is_the_stored_step(method, baseline, hidden, sizes, lengths, discount, gae_lambda, seed) -> None:
    network = GaussianMLP(sizes[0], tuple(hidden), sizes[1])
    facts = {"baseline": baseline, "discount": discount, "gae_lambda": gae_lambda}
    controller = toy_controller(method, network, seed, **facts)
    if baseline == "full":
        lengths = [*lengths, 40]  # of few time steps more features leave nothing: advantages that are rounding errors
    episodes = random_episodes(network, lengths, seed)
    assert_same(controller.adapt(episodes, streaming=True), controller.adapt(episodes), controller)


@pytest.mark.parametrize("method", STREAMING)
def test_a_policy_that_chooses_streams_too(method: str) -> None:
    network = CategoricalMLP(3, (6, 5), 4)
    controller = toy_controller(method, network)
    episodes = random_episodes(network, [12, 7, 40])
    adapted = controller.adapt(episodes)
    assert_same(controller.adapt(episodes, streaming=True), adapted, controller)
    assert any(not torch.equal(adapted.parameters[name], each) for name, each in controller.parameters.items())


def test_returns_that_tell_nothing_change_nothing() -> None:
    controller = toy_controller("anil", baseline="time")
    same = [each | {"rewards": np.linspace(0, 1, 9)} for each in random_episodes(NETWORK, [9, 9, 9])]
    for episodes in (same, [same[0] | {"rewards": np.ones(9)}]):
        adapted = controller.adapt(episodes, streaming=True)
        for name, tensor in controller.parameters.items():
            assert torch.equal(adapted.parameters[name], tensor), name


def test_the_peak_is_what_was_planned_and_does_not_depend_on_how_much_was_seen() -> None:
    controller = toy_controller("anil", baseline="time", gae_lambda=1.0)
    layers = device_layers(NETWORK, controller.parameters, get_method("anil"), 0)
    planned = plan(stream_program(layers, 20, Estimator(0.9, 1.0, "time"))).bytes
    for episodes in (1, 50):
        meter = Meter()
        stream = controller.stream(horizon=20, meter=meter)
        for episode in random_episodes(NETWORK, [20] * episodes):
            for row in zip(*(episode[part] for part in ("observations", "actions", "rewards")), strict=True):
                stream.add(*row)
            stream.end_episode()
        controller.adapt_streamed(stream)
        assert meter.peak == planned
    numbers = sum(controller.parameters[f"layer3.{part}"].numel() for part in ("weight", "bias", "log_std"))
    assert 4 * numbers * 6 < planned < 4 * numbers * 6 + 900  # the eligibility and five columns of sums, and the rest


def test_three_time_steps_by_hand() -> None:
    """Episodes of one step: the baseline is the mean reward 3, so A = -2, -1 and 3, and their deviation sqrt(14 / 3).

    The mean action is 0 and the deviation 1, so g(mean) = -a A, and the bias changes by minus its mean.
    """
    zeros = {"layer1.weight": torch.zeros(1, 1), "layer1.bias": torch.zeros(1), "layer1.log_std": torch.zeros(1)}
    controller = device_controller(GaussianMLP(1, (), 1), "maml", zeros | {"step_sizes": torch.ones(1, 1)})
    controller = replace(controller, metadata=replace(controller.metadata, baseline="time"))
    pairs = [(3.0, 1.0), (1.0, 2.0), (-2.0, 6.0)]
    episodes = [Episode(observations=[[0.0]], actions=[[action]], rewards=[reward]) for action, reward in pairs]
    # the sum of a A is 3 (-2) + 1 (-1) - 2 (3) = -13
    adapted = controller.adapt(episodes, streaming=True)
    assert float(adapted.parameters["layer1.bias"]) == pytest.approx(-13 / np.sqrt(14 / 3) / 3, abs=1e-4)


def test_a_recorder_streams_what_it_would_have_recorded() -> None:
    statistics = {
        MEAN: torch.tensor([0.1, -0.2, 0.3]),
        STD: torch.tensor([1.0, 2.0, 0.5]),
        COUNT: torch.full((1,), 9.0),
    }
    gate = {GATE: torch.tensor([[0.7, 0.3]]), GATE_STATISTICS: torch.tensor([0.0, 2.0])}
    controller = toy_controller("cavia")
    controller = replace(controller, parameters=controller.parameters | statistics | gate)
    recorders = [Recorder(controller, np.random.default_rng(1), streaming=each) for each in (False, True)]
    random = np.random.default_rng(2)
    for length in (7, 1, 12):
        for observation, reward in zip(
            random.standard_normal((length, 3)), random.standard_normal(length), strict=True
        ):
            first, second = (recorder.act(observation) for recorder in recorders)
            np.testing.assert_array_equal(first, second)
            for recorder in recorders:
                recorder.reward(reward)
        for recorder in recorders:
            recorder.end_episode()
    assert [len(recorder) for recorder in recorders] == [3, 3]
    assert not recorders[1].episodes
    stored, streamed = (recorder.adapt() for recorder in recorders)
    assert_same(streamed, stored, controller)


def test_calls_out_of_order_are_refused() -> None:
    recorder = Recorder(toy_controller("anil", horizon=2), streaming=True)
    with pytest.raises(Refusal, match="there is no episode to adapt to"):
        recorder.adapt()
    with pytest.raises(Refusal, match="the episode is empty"):
        recorder.end_episode()
    recorder.act(np.zeros(3))
    recorder.discard()  # an action without its reward is in no sum
    for _ in range(2):
        recorder.act(np.zeros(3))
        recorder.reward(1.0)
    with pytest.raises(Refusal, match="an episode is running"):
        recorder.adapt()
    with pytest.raises(Refusal, match="nothing is stored that could be dropped"):
        recorder.discard()
    recorder.act(np.zeros(3))
    with pytest.raises(Refusal, match="at most 2 time steps"):
        recorder.reward(1.0)
    recorder.discard()  # the action
    recorder.end_episode()
    assert len(recorder) == 1


def test_attention_needs_its_episodes() -> None:
    with pytest.raises(Refusal, match="p-meta cannot adapt with nothing stored, .*: maml, anil, boil, .* cavia.* can"):
        toy_controller("p-meta").stream()


def test_numbers_that_are_too_large_are_refused() -> None:
    controller = toy_controller("anil", baseline="time")
    episodes = [each | {"rewards": np.array([1e38, -3e38, 3e38])} for each in random_episodes(NETWORK, [3, 3])]
    episodes[1]["observations"] = np.full((3, 3), 3e38)
    with pytest.raises(Refusal, match="finite"):
        controller.adapt(episodes, streaming=True)
