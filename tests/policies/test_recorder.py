"""The robot's loop."""

import math

import gymnasium
import numpy as np
import pytest
import torch
from device_problems import device_controller, device_parameters

import metarl.envs  # noqa: F401  (registers the environments)
from metarl.policies.networks.mlp import GaussianMLP
from metarl.policies.recorder import Recorder


@pytest.fixture
def controller():
    network = GaussianMLP(observation_size=2, hidden_sizes=(8,), action_size=2)
    return device_controller(network, "p-meta", device_parameters(network, "p-meta"))


def test_a_robot_adapts_in_gymnasium(controller) -> None:
    env = gymnasium.make("metarl/Navigation2D-v0", max_episode_steps=12)
    recorder = Recorder(controller, np.random.default_rng(0))
    executed = []
    for _ in range(controller.metadata.episodes_per_step):
        observation, _ = env.reset(options={"task": {"goal_x": 0.3, "goal_y": -0.2}})
        done = False
        while not done:
            action = recorder.act(observation)
            observation, reward, terminated, truncated, _ = env.step(action)
            recorder.reward(reward)
            executed.append(action)
            done = terminated or truncated
        recorder.end_episode()
    assert [len(episode["rewards"]) for episode in recorder.episodes] == [12] * 5
    actions = np.concatenate([episode["actions"] for episode in recorder.episodes])
    assert np.abs(actions).max() > 2  # the policy's own, which are then halved and clipped to 1
    np.testing.assert_array_equal(executed, np.clip(0.5 * actions, -1, 1))

    adapted = controller.adapt(recorder.episodes)
    assert not torch.equal(adapted.parameters["layer2.weight"], controller.parameters["layer2.weight"])
    assert np.isfinite(adapted.predict(observation)[0]).all()


def test_the_recorded_actions_are_drawn_from_the_policy(controller) -> None:
    recorder = Recorder(controller, np.random.default_rng(1))
    observation = np.array([0.5, -1.0])
    for _ in range(4000):
        recorder.act(observation)
        recorder.reward(0.0)
    recorder.end_episode()
    (episode,) = recorder.episodes
    inputs = torch.tensor([[0.5, -1.0]])
    mean = controller.network(controller.parameters, inputs)[0][0].numpy()
    std = controller.network.log_std(controller.parameters).exp().numpy()
    np.testing.assert_allclose(episode["actions"].mean(axis=0), mean, atol=0.1)
    np.testing.assert_allclose(episode["actions"].std(axis=0), std, rtol=0.05)
    assert np.array_equal(episode["observations"], np.tile(np.float32(observation), (4000, 1)))


def test_an_observation_that_changes_in_place_is_copied(controller) -> None:
    recorder = Recorder(controller)
    observation = np.zeros(2, np.float32)
    for reward in (1.0, 2.0):
        recorder.act(observation)
        observation += 1
        recorder.reward(reward)
    recorder.end_episode()
    assert np.asarray(recorder.episodes[0]["observations"]).tolist() == [[0, 0], [1, 1]]
    assert np.asarray(recorder.episodes[0]["rewards"]).tolist() == [1, 2]


def test_calls_out_of_order(controller) -> None:
    recorder = Recorder(controller)
    with pytest.raises(ValueError, match="call act before reward"):
        recorder.reward(1.0)
    with pytest.raises(ValueError, match="the episode is empty"):
        recorder.end_episode()
    recorder.act([0.0, 0.0])
    for call in (lambda: recorder.act([0.0, 0.0]), recorder.end_episode):
        with pytest.raises(ValueError, match="the reward for the last action is missing"):
            call()
    recorder.reward(1.0)
    with pytest.raises(ValueError, match="call act before reward"):
        recorder.reward(1.0)
    recorder.end_episode()
    assert [len(episode["rewards"]) for episode in recorder.episodes] == [1]


@pytest.mark.parametrize("observation", [[0.0], [[0.0, 0.0]], [math.nan, 0.0], "ab"])
def test_a_bad_observation_leaves_the_recording_as_it_was(controller, observation) -> None:
    recorder = Recorder(controller)
    with pytest.raises(ValueError, match="observation"):
        recorder.act(observation)
    recorder.act([0.0, 0.0])
    for reward in (math.nan, math.inf, -1e39, None, "much"):
        with pytest.raises(ValueError, match="the reward must be"):
            recorder.reward(reward)
    recorder.reward(1.0)
    recorder.end_episode()
    assert np.asarray(recorder.episodes[0]["observations"]).tolist() == [[0, 0]]


def test_a_failed_episode_is_discarded(controller) -> None:
    recorder = Recorder(controller)
    recorder.act([0.0, 0.0])
    recorder.reward(1.0)
    recorder.end_episode()
    recorder.act([0.5, 0.5])
    recorder.reward(-9.0)
    recorder.act([0.6, 0.6])  # the robot falls: no reward for this one
    assert repr(recorder) == "<Recorder: 1 episode, 2 steps of a running one>"
    recorder.discard()
    assert len(recorder) == 1 and repr(recorder) == "<Recorder: 1 episode, 0 steps of a running one>"
    recorder.act([0.1, 0.1])
    recorder.reward(2.0)
    recorder.end_episode()
    assert len(recorder) == 2
    assert [np.asarray(episode["rewards"]).tolist() for episode in recorder.episodes] == [[1], [2]]
