import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from metarl.policies.controller import Controller
from metarl.policies.files.metadata import ControllerMetadata, FieldRecord
from metarl.policies.loading import load_controller
from metarl.policies.networks.mlp import GaussianMLP


def make_controller(network: GaussianMLP | None = None, seed: int = 0, **changes: object) -> Controller:
    network = network or GaussianMLP(2, (3,), 1)
    values: dict[str, object] = {
        "method": "maml",
        "family": "navigation-2d",
        "task_fields": (FieldRecord("goal_x", -0.5, 0.5, "m"), FieldRecord("side", -1.0, 1.0, "", (-1.0, 1.0))),
        "horizon": 200,
        "observation_low": (-math.inf,) * network.observation_size,
        "observation_high": (math.inf,) * network.observation_size,
        "action_low": (-1.0,) * network.action_size,
        "action_high": (1.0,) * network.action_size,
        "action_scale": 0.1,
        "inner_steps": 2,
        "episodes_per_step": 20,
        "discount": 0.99,
        "gae_lambda": 1.0,
        "training": {"seed": 3, "returns": [-20.5, -13.25]},
    }
    parameters = network.initial_parameters(torch.Generator().manual_seed(seed))
    parameters["step_sizes"] = torch.full((2, len(network.layer_names)), 0.1)
    return Controller(parameters, network, ControllerMetadata(**{**values, **changes}))


def assert_same(first: Controller, second: Controller) -> None:
    assert first.metadata == second.metadata
    assert first.network == second.network
    assert first.parameters.keys() == second.parameters.keys()
    for name, tensor in first.parameters.items():
        assert torch.equal(tensor, second.parameters[name]), name


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "controller.safetensors"


def test_round_trip(path):
    controller = make_controller(adapted_to={"goal_x": 0.25, "side": -1.0})
    controller.save(path)
    assert_same(load_controller(str(path)), controller)
    assert list(path.parent.iterdir()) == [path]
    observation = [0.3, -0.7]
    assert np.array_equal(load_controller(path).predict(observation)[0], controller.predict(observation)[0])


def test_another_program_can_read_the_file(path):
    controller = make_controller()
    controller.save(path)
    arrays = safetensors.numpy.load_file(path)
    assert arrays.keys() == controller.parameters.keys()
    assert np.array_equal(arrays["layer1.weight"], controller.parameters["layer1.weight"])


def test_views_with_gradients_are_saved(path):
    controller = make_controller()
    flat = torch.cat([tensor.t().reshape(-1) for tensor in controller.parameters.values()]).requires_grad_()
    views, start = {}, 0
    for name, tensor in controller.parameters.items():
        views[name] = flat[start : start + tensor.numel()].reshape(tensor.t().shape).t()
        start += tensor.numel()
    replace(controller, parameters=views).save(path)
    assert_same(load_controller(path), controller)
    assert not any(tensor.requires_grad for tensor in load_controller(path).parameters.values())


finite = st.floats(allow_nan=False, allow_infinity=False)
number = st.floats(allow_nan=False)
name = st.text(max_size=200)
single = st.floats(-(2.0**100), 2.0**100)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def bounds(draw, size: int, number=number) -> tuple[tuple[float, ...], tuple[float, ...]]:
    pairs = [sorted(draw(st.tuples(number, number))) for _ in range(size)]
    return tuple(low for low, _ in pairs), tuple(high for _, high in pairs)


def task_field(name: str, values: list[float], unit: str, has_choices: bool) -> FieldRecord:
    low, *middle, high = sorted(values)
    return FieldRecord(name, low, high, unit, tuple(middle) if has_choices else ())


@st.composite
def controllers(draw) -> Controller:
    size = st.integers(1, 5)
    std = draw(st.floats(1e-3, 1e3))
    network = GaussianMLP(draw(size), tuple(draw(st.lists(size, max_size=3))), draw(size), std)
    observation_low, observation_high = draw(bounds(network.observation_size))
    action_low, action_high = draw(bounds(network.action_size, single))
    fields = st.builds(task_field, name, st.lists(finite, min_size=2, max_size=5), name, st.booleans())
    controller = make_controller(
        network,
        seed=draw(st.integers(0, 99)),
        method=draw(name),
        family=draw(name),
        task_fields=tuple(draw(st.lists(fields, max_size=3, unique_by=lambda field: field.name))),
        horizon=draw(st.integers(1, 10**7)),
        observation_low=observation_low,
        observation_high=observation_high,
        action_low=action_low,
        action_high=action_high,
        action_scale=draw(st.floats(1e-3, 1e3)),
        episodes_per_step=draw(st.integers(1, 10**6)),
        discount=draw(st.floats(0, 1)),
        gae_lambda=draw(st.floats(0, 1)),
        adapted_to=draw(st.none() | st.dictionaries(name, finite, max_size=3)),
        training=draw(st.dictionaries(st.text(), plain, max_size=3)),
    )
    if draw(st.booleans()):
        del controller.parameters["step_sizes"]
    return controller


@given(controller=controllers())
def test_any_controller_comes_back_as_it_was(tmp_path_factory, controller):
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    controller.save(path, overwrite=True)
    assert_same(load_controller(path), controller)


def test_nothing_is_written_when_saving_fails(path):
    with pytest.raises(ValueError, match="must be plain JSON"):
        make_controller(training={"code": print}).save(path)
    assert list(path.parent.iterdir()) == []
    with pytest.raises(ValueError, match="cannot write .*missing.*: No such file or directory"):
        make_controller().save(path.parent / "missing" / path.name)


def test_an_existing_file_is_overwritten_only_on_request(path):
    path.write_text("precious")
    with pytest.raises(ValueError, match=r"controller\.safetensors exists already and is not overwritten"):
        make_controller().save(path)
    assert path.read_text() == "precious"
    make_controller().save(path, overwrite=True)
    assert_same(load_controller(path), make_controller())


def test_a_file_that_changes_after_loading_changes_no_controller(path):
    make_controller().save(path)
    loaded = load_controller(path)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.write(b"\0" * size)
    assert_same(loaded, make_controller())
