import math
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3.common.evaluation import evaluate_policy

from metarl.policies.controller import Controller, check_spaces
from metarl.policies.files.metadata import ControllerMetadata, FieldRecord
from metarl.policies.networks.mlp import GaussianMLP


def make_controller(network: GaussianMLP, scale: float = 0.5, bound: float = 1.0) -> Controller:
    metadata = ControllerMetadata(
        method="maml",
        family="toy",
        task_fields=(FieldRecord("goal", -0.5, 0.5, "m"),),
        horizon=10,
        observation_low=(-math.inf,) * network.observation_size,
        observation_high=(math.inf,) * network.observation_size,
        action_low=(-bound,) * network.action_size,
        action_high=(bound,) * network.action_size,
        action_scale=scale,
        inner_steps=2,
        episodes_per_step=20,
        discount=0.99,
        gae_lambda=1.0,
    )
    return Controller(network.initial_parameters(torch.Generator().manual_seed(0)), network, metadata)


@pytest.fixture
def tiny() -> Controller:
    """Mean action (x1 - x2, 2 * x1 + 1), standard deviations 1 and e, halved and clipped to [-1, 1]."""
    controller = make_controller(GaussianMLP(2, (), 2))
    parameters = {
        "layer1.weight": torch.tensor([[1.0, -1.0], [2.0, 0.0]]),
        "layer1.bias": torch.tensor([0.0, 1.0]),
        "layer1.log_std": torch.tensor([0.0, 1.0]),
    }
    return replace(controller, parameters=parameters)


def test_predict_by_hand(tiny):
    action, state = tiny.predict(np.array([0.25, 1.0]))
    assert action.dtype == np.float32
    assert action.tolist() == [-0.375, 0.75]
    assert state is None
    batch, _ = tiny.predict([[0.25, 1.0], [3.0, 0.0], [-4.0, 1.0]])
    assert batch.tolist() == [[-0.375, 0.75], [1.0, 1.0], [-1.0, -1.0]]
    assert tiny.predict(np.zeros((0, 2)))[0].shape == (0, 2)


def test_predict_of_a_hidden_layer_by_hand():
    # hidden (5.5, 0) as worked out in test_mlp.py, mean 10, scaled to 5
    controller = make_controller(GaussianMLP(2, (2,), 1), bound=math.inf)
    parameters = {
        "layer1.weight": torch.tensor([[1.0, 2.0], [-1.0, 1.0]]),
        "layer1.bias": torch.tensor([0.5, -3.0]),
        "layer2.weight": torch.tensor([[2.0, 4.0]]),
        "layer2.bias": torch.tensor([-1.0]),
        "layer2.log_std": torch.tensor([0.0]),
    }
    assert replace(controller, parameters=parameters).predict([1.0, 2.0])[0].tolist() == [5.0]


def test_predict_draws_from_the_gaussian_and_repeats(tiny):
    wide = replace(tiny, metadata=replace(tiny.metadata, action_low=(-99.0, -99.0), action_high=(99.0, 99.0)))
    observations = np.tile([0.25, 1.0], (20_000, 1))
    drawn, _ = wide.predict(observations, deterministic=False, generator=np.random.default_rng(7))
    again, _ = wide.predict(observations, deterministic=False, generator=np.random.default_rng(7))
    assert np.array_equal(drawn, again)
    np.testing.assert_allclose(drawn.mean(axis=0), [-0.375, 0.75], atol=0.04)
    np.testing.assert_allclose(drawn.std(axis=0), [0.5, 0.5 * math.e], rtol=0.03)
    clipped, _ = tiny.predict(observations, deterministic=False)
    assert clipped.dtype == np.float32
    assert clipped.min() == -1
    assert clipped.max() == 1


def test_predict_in_the_form_of_stable_baselines3():
    pendulum = gymnasium.make("Pendulum-v1")
    controller = make_controller(GaussianMLP(3, (4,), 1), scale=2.0, bound=2.0)
    mean, std = evaluate_policy(controller, pendulum, n_eval_episodes=1, warn=False)
    assert np.isfinite([mean, std]).all()
    recurrent_state = (np.ones(2),)
    assert controller.predict([0.0, 1.0, 0.0], recurrent_state, np.array([True]))[1] is recurrent_state


@pytest.mark.parametrize(
    ("observation", "sentence"),
    [
        ([1.0, 2.0, 3.0], r"must have the shape \[2\] or \[n, 2\], got \[3\]"),
        (np.zeros((1, 1, 2)), r"must have the shape \[2\] or \[n, 2\], got \[1, 1, 2\]"),
        (1.0, r"must have the shape \[2\] or \[n, 2\], got \[\]"),
        ([[1.0, 2.0], [3.0]], "must be an array of 2 numbers"),
        ({"position": 1.0}, "must be an array of 2 numbers"),
        ("ab", "must be an array of 2 numbers"),
        ([math.nan, 0.0], "holds a NaN or an infinite number"),
        ([[0.0, 0.0], [0.0, -math.inf]], "holds a NaN or an infinite number"),
        ([1e300, 0.0], "holds a NaN or an infinite number"),
        ([3e38, -3e38], "overflows"),
    ],
)
def test_predict_refuses(tiny, observation, sentence):
    with pytest.raises(ValueError, match=sentence):
        tiny.predict(observation)


def test_check_spaces(tiny):
    check_spaces(tiny, (2,), (2,), "toy")
    with pytest.raises(ValueError, match=r"toy has observations \[2\] and actions \[2\], but Hopper-v5 has"):
        check_spaces(tiny, (11,), (3,), "Hopper-v5")
    with pytest.raises(ValueError, match="made for other spaces"):
        check_spaces(tiny, (2,), (3,), "a robot")
    with pytest.raises(ValueError, match="made for other spaces"):
        check_spaces(tiny, (2, 1), (2,), "a robot")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"layer1.bias": None}, "'layer1.bias' is missing"),
        ({"layer9.bias": torch.zeros(2)}, "unknown parameter 'layer9.bias'"),
        ({"layer1.bias": torch.zeros(3)}, r"'layer1.bias' must have the shape \[2\], got \[3\]"),
        ({"layer1.bias": torch.zeros(2, dtype=torch.float64)}, "'layer1.bias' must be float32, got float64"),
        ({"layer1.weight": torch.full((2, 2), math.nan)}, "'layer1.weight' holds a NaN"),
        ({"step_sizes": torch.zeros(1, 1)}, r"'step_sizes' must have the shape \[2, 1\], got \[1, 1\]"),
        ({"step_sizes": torch.full((2, 1), math.inf)}, "'step_sizes' holds a NaN or an infinite number"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(tiny, change, sentence):
    parameters = {name: tensor for name, tensor in {**tiny.parameters, **change}.items() if tensor is not None}
    with pytest.raises(ValueError, match=sentence):
        replace(tiny, parameters=parameters)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"horizon": 0}, "horizon must be at least 1, got 0"),
        ({"inner_steps": 0}, "inner_steps must be at least 1"),
        ({"episodes_per_step": -1}, "episodes_per_step must be at least 1"),
        ({"discount": 1.5}, "discount must be at most 1, got 1.5"),
        ({"gae_lambda": math.nan}, "gae_lambda must be a finite number, got nan"),
        ({"action_scale": 0.0}, "action_scale must be at least 1e-09, got 0.0"),
        ({"action_scale": math.inf}, "action_scale must be a finite number, got inf"),
        ({"action_low": (2.0, 0.0)}, "action_low must be as long as action_high and nowhere above it"),
        ({"observation_low": (0.0,)}, "observation_low must be as long as observation_high"),
        ({"observation_low": (math.nan, 0.0)}, "observation_low must be as long"),
        ({"action_low": (0.0,), "action_high": (1.0,)}, "the action bounds have 1 numbers, but the network has 2"),
    ],
)
def test_metadata_that_makes_no_sense_is_refused(tiny, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        replace(tiny, metadata=replace(tiny.metadata, **change))


def test_a_controller_describes_itself_in_a_line_and_a_table():
    controller = make_controller(GaussianMLP(2, (3,), 1))
    facts = "method maml, family toy, observations 2, actions 1"
    assert repr(controller) == f"<Controller: {facts}, adapted no>"
    named = replace(controller, metadata=replace(controller.metadata, family="<b>", adapted_to={"goal": 0.25}))
    assert repr(named).endswith("adapted to goal=0.25>")
    html = named._repr_html_()
    assert "<th>family</th><td>&lt;b&gt;</td>" in html and "<td>to goal=0.25</td>" in html
    unnamed = replace(controller, metadata=replace(controller.metadata, adapted_to={}))
    assert repr(unnamed).endswith("adapted to an unnamed task>")
