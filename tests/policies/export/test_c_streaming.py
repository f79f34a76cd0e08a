"""A robot in C that stores no episode, against Python's step on stored ones."""

import ctypes
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from c_robot import EMPTY, FULL, MORE, NOT_FINITE, OK, ORDER, Robot, compiled, floats, needs_compiler
from contexts import suited
from device_problems import device_controller, device_parameters
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metarl.core.errors import Refusal
from metarl.policies.controller import Controller
from metarl.policies.device.episodes import Episode
from metarl.policies.export.c import COptions, check_that_streaming_pays, generated
from metarl.policies.export.emulation import ARM, QEMU, emulate
from metarl.policies.export.noise import noise_of
from metarl.policies.gate import GATE, GATE_STATISTICS
from metarl.policies.methods import STEP_SIZES
from metarl.policies.networks.mlp import GaussianMLP

NETWORK = GaussianMLP(5, (9, 6), 3)
HORIZON, EPISODES = 40, 3
STREAMING = COptions(streaming=True)
needs_board = pytest.mark.skipif(
    not (shutil.which(ARM) and shutil.which(QEMU)) and "METARL_REQUIRE_QEMU" not in os.environ,
    reason=f"{ARM} or {QEMU} is not installed",
)


def toy_controller(method: str, inner_steps: int = 1, network: GaussianMLP = NETWORK, **metadata: Any) -> Controller:
    network = suited(network, method)
    parameters = device_parameters(network, method, inner_steps=inner_steps)
    controller = device_controller(network, method, parameters, horizon=HORIZON)
    facts = {"episodes_per_step": EPISODES, "baseline": "time"} | metadata
    return replace(controller, metadata=replace(controller.metadata, **facts))


def random_episodes(lengths: Sequence[int], seed: int = 0, network: GaussianMLP = NETWORK) -> list[Episode]:
    random = np.random.default_rng(seed)
    return [
        Episode(
            observations=random.standard_normal((length, network.observation_size), np.float32),
            actions=random.standard_normal((length, network.action_size), np.float32),
            rewards=random.standard_normal(length, np.float32),
        )
        for length in lengths
    ]


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made: dict[Any, Any] = {}

    def library(controller: Controller, key: Any) -> Any:
        if key not in made:
            made[key] = compiled(controller, tmp_path_factory.mktemp("c"), STREAMING)
        return made[key]

    return library


def assert_adapts_alike(robot: Robot, controller: Controller, adapted: Controller) -> None:
    """The change of everything that the policy computes with, and an action."""
    for layer in controller.network.layers:
        before = controller.parameters | layer.modulated(controller.parameters)
        after = adapted.parameters | layer.modulated(adapted.parameters)
        for name in layer.parameter_shapes:
            if name in (changes := robot.change()):
                expected = (after[name] - before[name]).numpy()
                atol = 2e-6 + 1e-4 * np.abs(expected).max()
                np.testing.assert_allclose(changes[name], expected, rtol=0, atol=atol, err_msg=name)
    observation = np.linspace(-1, 1, controller.network.observation_size, dtype=np.float32)
    np.testing.assert_allclose(robot.predict(observation), adapted.predict(observation)[0], rtol=1e-4, atol=1e-4)


@needs_compiler
@pytest.mark.parametrize(
    ("method", "baseline", "gae_lambda"),
    [
        ("anil", "time", 1.0),
        ("anil", "full", 0.9),
        ("cavia", "full", 1.0),
        ("cavia", "time", 0.8),
        ("boil", "time", 0.0),
    ],
)
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lengths=st.lists(st.integers(1, HORIZON), max_size=EPISODES - 1), seed=st.integers(0, 10_000))
def test_adapts_as_the_stored_step_does(libraries, method, baseline, gae_lambda, lengths, seed) -> None:
    controller = toy_controller(method, baseline=baseline, gae_lambda=gae_lambda)
    library, made = libraries(controller, (method, baseline, gae_lambda))
    assert made.storage_bytes == 0
    episodes = random_episodes([*lengths, HORIZON], seed)
    robot = Robot(library, made)
    robot.record(episodes)
    assert robot.call("adapt") == OK
    assert_adapts_alike(robot, controller, controller.adapt(episodes))


@needs_compiler
@pytest.mark.parametrize("method", ["anil", "cavia", "p-meta-layers"])
def test_several_inner_steps_and_a_gate(libraries, method) -> None:
    """One of the steps leaves everything as it is, and the policy acts between the calls."""
    controller = toy_controller(method, inner_steps=3)
    step_sizes = controller.parameters[STEP_SIZES] * torch.tensor([[1.0], [0.0], [1.0]])
    gate = {GATE: torch.tensor([[0.5, 0.2], [1.0, 0.0], [0.9, -0.4]]), GATE_STATISTICS: torch.tensor([0.0, 3.0])}
    controller = replace(controller, parameters=controller.parameters | gate | {STEP_SIZES: step_sizes})
    library, made = libraries(controller, (method, "steps"))
    robot, adapted = Robot(library, made), controller
    for step in range(3):
        episodes = random_episodes((20, 7, 30), seed=step)
        robot.record(episodes)
        before = robot.predict(np.ones(5, np.float32))
        while (status := robot.call("adapt_some", 1)) == MORE:
            np.testing.assert_array_equal(robot.predict(np.ones(5, np.float32)), before)
        assert status == OK
        adapted = adapted.adapt(episodes, step)
        assert_adapts_alike(robot, controller, adapted)


@needs_compiler
def test_what_it_adds_up_is_what_it_did(libraries) -> None:
    """It acts with noise of its own, and is asked for actions between an action and its reward."""
    controller = toy_controller("anil")
    library, made = libraries(controller, "acts")
    robot, std = Robot(library, made, seed=5), controller.network.log_std(controller.parameters).exp().numpy()
    episodes, row = random_episodes((30, 1, 17), seed=3), 0
    for episode in episodes:
        for time, observation in enumerate(episode["observations"]):
            executed = robot.predict(observation, "act")
            noise = np.array([noise_of(5, row, action) for action in range(3)], np.float32)
            episode["actions"][time] = controller.policy_action(observation) + std * noise
            np.testing.assert_allclose(executed, controller.executed(episode["actions"][time]), atol=1e-5)
            robot.predict(observation + 1)
            assert robot.call("reward", ctypes.c_float(episode["rewards"][time])) == OK
            row += 1
        assert robot.call("end_episode") == OK
    assert robot.call("adapt") == OK
    assert_adapts_alike(robot, controller, controller.adapt(episodes))


@needs_compiler
def test_what_fails_leaves_the_policy(libraries) -> None:
    controller = toy_controller("anil")
    library, made = libraries(controller, "acts")
    robot, action = Robot(library, made), np.zeros(3, np.float32)
    good, bad = np.ones(5, np.float32), np.full(5, np.nan, np.float32)
    assert robot.call("adapt") == EMPTY and robot.call("end_episode") == EMPTY
    assert robot.call("act", floats(bad), floats(action)) == NOT_FINITE
    assert robot.call("reward", ctypes.c_float(1)) == ORDER
    for _ in range(HORIZON):
        assert robot.call("act", floats(good), floats(action)) == OK
        assert robot.call("act", floats(good), floats(action)) == ORDER
        assert robot.call("reward", ctypes.c_float(float("nan"))) == NOT_FINITE
        assert robot.call("reward", ctypes.c_float(3e38)) == OK
    assert robot.call("act", floats(good), floats(action)) == FULL
    assert robot.call("adapt") == ORDER
    assert robot.call("end_episode") == OK
    # The rewards are alike, of one episode, so nothing changes; then they overflow, and nothing changes either.
    before = robot.predict(good)
    huge = random_episodes((30, 20), seed=1)
    for episode in huge:
        episode["rewards"] *= np.float32(1e38)
        episode["observations"] *= np.float32(1e30)
    robot.record(huge)
    assert robot.call("adapt") == NOT_FINITE
    np.testing.assert_array_equal(robot.predict(good), before)
    assert robot.call("adapt") == EMPTY  # nothing was stored
    episodes = random_episodes((30, 12), seed=2)
    robot.record(episodes)
    assert robot.call("adapt") == OK
    assert_adapts_alike(robot, controller, controller.adapt(episodes))


def test_methods_for_which_it_does_not_fit() -> None:
    with pytest.raises(Refusal, match="p-meta cannot adapt with nothing stored"):
        generated(toy_controller("p-meta"), STREAMING)
    for facts in ({"method": "maml"}, {"method": "anil", "baseline": "full"}):
        with pytest.raises(Refusal, match="more than the .* bytes of its episodes: cavia and anil fit"):
            check_that_streaming_pays(generated(toy_controller(**facts), STREAMING))
    check_that_streaming_pays(generated(toy_controller("anil"), STREAMING))
    check_that_streaming_pays(generated(toy_controller("cavia", baseline="time"), STREAMING))


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize(("method", "steps"), [("anil", 2), ("cavia", 1), ("maml", 1)])
def test_sanitizers_find_nothing(method: str, steps: int) -> None:
    controller = toy_controller(method, steps, baseline="full" if method == "cavia" else "time")
    flags = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    ran = emulate(generated(controller, STREAMING), random_episodes((30, 1, 40)), optimize=flags)
    assert ran.status == 0 and ran.largest_change > 1e-3
    assert ran.max_difference < 1e-4 * ran.largest_change + 1e-6


@needs_board
@pytest.mark.parametrize(("method", "baseline"), [("anil", "time"), ("cavia", "full")])
def test_a_cheetah_adapts_in_32_kilobytes_with_nothing_stored(method: str, baseline: str) -> None:
    network = GaussianMLP(20, (100, 100), 6)
    controller = toy_controller(method, network=network, baseline=baseline, discount=0.99, gae_lambda=1.0)
    metadata = replace(controller.metadata, horizon=200, episodes_per_step=20)
    made = generated(replace(controller, metadata=metadata), COptions(ram=32768, streaming=True))
    ran = emulate(made, random_episodes([40] * 5, network=network), "qemu-m4", 32768)
    assert ran.status == 0 and made.storage_bytes == 0
    assert ran.max_difference < 1e-5
    assert ran.robot_bytes == ran.planned_ram_bytes < ran.ram_bytes <= 32768
    assert ran.flash_bytes["code"] < 12_000
