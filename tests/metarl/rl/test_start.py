"""How a meta-training starts: from a controller, or with a warning that it cannot learn."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from point_family import TINY, point_family

import metarl
from metarl.core.errors import Refusal
from metarl.policies.controller import Controller
from metarl.policies.methods import STEP_SIZES
from metarl.rl.start import warn_of_clipping
from metarl.rl.training import PolicyTraining

SHORT = replace(TINY, iterations=2)


@pytest.fixture(scope="module")
def controller() -> Controller:
    return metarl.train(point_family(), settings=replace(SHORT, method="maml++"))


def test_a_training_starts_from_a_controller(controller: Controller, tmp_path: Path) -> None:
    training = PolicyTraining(point_family(), replace(SHORT, method="maml++"), controller)
    state = training.initial_state()
    assert all(torch.equal(state.parameters[name], tensor) for name, tensor in controller.parameters.items())
    controller.save(tmp_path / "controller.safetensors")
    trained = metarl.train(
        point_family(), settings=replace(SHORT, method="maml++"), init=tmp_path, out=tmp_path / "run"
    )
    same = metarl.train(point_family(), settings=replace(SHORT, method="maml++"), init=controller)
    assert all(torch.equal(trained.parameters[name], same.parameters[name]) for name in same.parameters)
    other = metarl.train(point_family(), settings=replace(SHORT, method="maml++"))
    assert not torch.equal(trained.parameters["layer1.weight"], other.parameters["layer1.weight"])


def test_what_a_run_starts_from_is_not_needed_to_go_on(controller: Controller, tmp_path: Path) -> None:
    settings = replace(SHORT, method="maml++")
    whole = metarl.train(point_family(), settings=replace(settings, iterations=4), init=controller)
    metarl.train(point_family(), settings=settings, init=controller, out=tmp_path / "run")
    longer = metarl.resume(tmp_path / "run", iterations=4, family=point_family())
    assert all(torch.equal(longer.parameters[name], whole.parameters[name]) for name in whole.parameters)


def test_fixed_step_sizes_are_those_of_the_settings() -> None:
    maml = metarl.train(point_family(), settings=SHORT)
    state = PolicyTraining(point_family(), replace(SHORT, step_size=0.7), maml).initial_state()
    assert torch.equal(state.parameters[STEP_SIZES], torch.full((1, 2), 0.7))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"hidden_sizes": (9,)}, r"has the hidden sizes \(8,\), and the settings ask for \(9,\)"),
        ({"action_scale": 0.5}, "has the action scale 0.2, and the settings ask for 0.5"),
        ({"inner_steps": 2}, "has the inner steps 1, and the settings ask for 2"),
        (
            {"method": "p-meta"},
            r"was trained by maml\+\+, and the settings ask for p-meta: 'attention.* is a parameter",
        ),
        ({"gate": "return"}, "'gate' is a parameter of one alone"),
    ],
)
def test_a_controller_that_does_not_fit(controller: Controller, change: dict, sentence: str, tmp_path: Path) -> None:
    settings = replace(SHORT, **{"method": "maml++"} | change)
    with pytest.raises(Refusal, match=sentence):
        metarl.train(point_family(), settings=settings, init=controller, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_controller_of_other_spaces() -> None:
    with pytest.raises(Refusal, match="made for other spaces"):
        metarl.train(point_family(), settings=SHORT, init="half-cheetah-velocity/maml")


@pytest.mark.parametrize(
    ("low", "high", "settings", "is_told"),
    [
        (10.0, 20.0, {}, True),
        (-20.0, -10.0, {}, True),
        (-0.001, 0.001, {}, True),  # of which a normal distribution has 0.08 %
        (-0.02, 0.02, {}, False),  # 1.6 %
        (0.0, 1.0, {}, False),
        (10.0, 20.0, {"action_scale": 10.0}, False),
        (-1.0, 1.0, {"initial_std": 100.0}, True),
    ],
)
def test_actions_that_do_not_reach_the_action_space(low: float, high: float, settings: dict, is_told: bool) -> None:
    bounds = gymnasium.spaces.Box(np.array([-1, low], np.float32), np.array([1, high], np.float32))
    family = replace(point_family(), action_space=bounds)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_clipping(family, replace(TINY, **{"action_scale": 1.0} | settings))
    told = [str(warning.message) for warning in caught]
    assert len(told) == is_told
    assert not told or f"clips nearly all of them to [{np.float32(low):g}, {np.float32(high):g}]" in told[0]
