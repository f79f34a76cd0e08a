"""A controller that chooses one of several actions: predict, recorder, file, adaptation, and what is refused."""

from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from device_problems import device_controller, device_parameters

import metarl
from metarl.core.errors import Refusal
from metarl.policies.controller import Controller, check_spaces
from metarl.policies.export.c import COptions, write_c
from metarl.policies.files.controller_file import KIND
from metarl.policies.files.tensor_file import read_tensors
from metarl.policies.methods import STEP_SIZES
from metarl.policies.networks.mlp import CategoricalMLP
from metarl.policies.recorder import Recorder

NETWORK = CategoricalMLP(observation_size=4, hidden_sizes=(5,), choices=2)


@pytest.fixture
def controller() -> Controller:
    return device_controller(NETWORK, "maml", device_parameters(NETWORK, "maml"))


@pytest.fixture
def tiny() -> Controller:
    """Logits [0, 0, 3 o]: at o = 1 the third choice has the probability e^3 / (2 + e^3) = 0.909."""
    parameters = {
        "layer1.weight": torch.tensor([[0.0], [0.0], [3.0]]),
        "layer1.bias": torch.zeros(3),
        STEP_SIZES: torch.ones(1, 1),
    }
    return device_controller(CategoricalMLP(1, (), 3), "maml", parameters)


def test_predict_by_hand(tiny: Controller) -> None:
    action, state = tiny.predict([1.0])
    assert (action.shape, action.dtype, int(action), state) == ((), np.int64, 2, None)
    assert tiny.predict([[1.0], [-1.0]])[0].tolist() == [2, 0]
    drawn, _ = tiny.predict(np.ones((4000, 1)), deterministic=False, generator=np.random.default_rng(0))
    shares = np.bincount(drawn, minlength=3) / 4000
    np.testing.assert_allclose(shares, np.array([1, 1, np.e**3]) / (2 + np.e**3), atol=0.02)  # four standard errors
    again, _ = tiny.predict(np.ones((4000, 1)), deterministic=False, generator=np.random.default_rng(0))
    assert np.array_equal(drawn, again)


def test_a_robot_adapts_in_gymnasium(controller: Controller) -> None:
    env, recorder = gymnasium.make("CartPole-v1"), Recorder(controller, np.random.default_rng(0))
    for seed in range(5):
        observation, done = env.reset(seed=seed)[0], False
        while not done:
            action = recorder.act(observation)
            assert env.action_space.contains(action)
            observation, reward, terminated, truncated, _ = env.step(action)
            recorder.reward(float(reward))
            done = terminated or truncated
        recorder.end_episode()
    assert {value for each in recorder.episodes for value in np.unique(each["actions"]).tolist()} == {0, 1}
    adapted = recorder.adapt()
    assert not torch.equal(adapted.parameters["layer2.weight"], controller.parameters["layer2.weight"])
    assert repr(adapted).count("2 choices") == 1


def test_its_file_says_how_it_acts(controller: Controller, tmp_path: Path) -> None:
    controller.save(tmp_path / "controller.safetensors")
    content, tensors = read_tensors(tmp_path / "controller.safetensors", KIND)
    assert '"kind": "categorical-mlp"' in content and '"choices": 2' in content
    assert "layer2.log_std" not in tensors
    loaded = metarl.load(tmp_path / "controller.safetensors")
    assert loaded.network == NETWORK and loaded.metadata == controller.metadata
    assert all(torch.equal(loaded.parameters[name], each) for name, each in controller.parameters.items())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"action_high": (2.0,)}, "the action bounds of 2 choices must be 0 and 1"),
        ({"action_scale": 0.5}, "the action scale of choices must be 1, got 0.5"),
        ({"action_low": (0.0, 0.0), "action_high": (1.0, 1.0)}, "the action bounds have 2 numbers, but the network"),
    ],
)
def test_metadata_that_does_not_fit_is_refused(controller: Controller, change: dict, sentence: str) -> None:
    with pytest.raises(Refusal, match=sentence):
        replace(controller, metadata=replace(controller.metadata, **change))


@pytest.mark.parametrize("choices", [1, 0, 2.5, True])
def test_a_number_of_choices_that_makes_no_sense_is_refused(choices) -> None:
    with pytest.raises(Refusal, match="choices must be"):
        CategoricalMLP(4, (5,), choices)


@pytest.mark.parametrize("action", [2.0, -1.0, 0.5])
def test_actions_that_are_no_choices_are_refused(controller: Controller, action: float) -> None:
    good = {"observations": np.zeros((2, 4)), "actions": np.zeros((2, 1)), "rewards": np.ones(2)}
    with pytest.raises(Refusal, match=f"episode 2: the actions must be whole numbers from 0 to 1, got {action:g}"):
        controller.adapt([good, good | {"actions": np.array([[0.0], [action]])}])


def test_other_spaces_are_refused(controller: Controller) -> None:
    check_spaces(controller, (4,), (), "CartPole", choices=2)
    with pytest.raises(Refusal, match="and 2 actions to choose from, but Acrobot has .* and 3 actions to"):
        check_spaces(controller, (4,), (), "Acrobot", choices=3)
    with pytest.raises(Refusal, match=r"choose from, but a robot has observations \[4\] and actions \[1\]$"):
        check_spaces(controller, (4,), (1,), "a robot")


def test_what_is_for_vectors_alone_says_so(controller: Controller, tmp_path: Path) -> None:
    sentence = "is for actions that are vectors, and this controller has 2 choices"
    with pytest.raises(Refusal, match=f"to_sb3 {sentence}"):
        metarl.to_sb3(controller)
    for options in (COptions(), COptions(policy_only=True), COptions(streaming=True)):
        with pytest.raises(Refusal, match=f"the export to C {sentence}"):
            write_c(controller, tmp_path / "c", options)
    assert not (tmp_path / "c").exists()
