"""The emitted C against ``Controller.adapt``, and what it answers to calls that are wrong."""

from __future__ import annotations

import ctypes
import math
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from c_problems import (
    EPISODES,
    HORIZON,
    NETWORKS,
    assert_adapts_alike,
    is_on_an_edge,
    options_with_windows,
    random_episodes,
    toy_controller,
)
from c_robot import (
    CAPACITY,
    CORRUPT,
    EMPTY,
    FULL,
    MORE,
    NOT_FINITE,
    OK,
    ORDER,
    STORAGE,
    Robot,
    Storage,
    compiled,
    floats,
    needs_compiler,
)
from device_problems import device_controller, device_parameters
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from metarl.policies.attention import Modules
from metarl.policies.controller import Controller
from metarl.policies.device.episodes import Episode
from metarl.policies.export.c import COptions
from metarl.policies.export.c_files import STATE_BYTES
from metarl.policies.export.noise import noise_of
from metarl.policies.files.metadata import FieldRecord
from metarl.policies.gate import GATE, GATE_STATISTICS
from metarl.policies.methods import METHODS, STEP_SIZES
from metarl.policies.networks.kinds import Activation
from metarl.policies.normalization import COUNT, MEAN, STD

pytestmark = needs_compiler


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Compiled controllers, each once."""
    made: dict[Any, Any] = {}

    def library(controller: Controller, key: Any, options: COptions | None = None) -> Any:
        if key not in made:
            made[key] = compiled(controller, tmp_path_factory.mktemp("c"), options)
        return made[key]

    return library


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: f"{network.activation} {network.sizes}")
@pytest.mark.parametrize("divided", [False, True], ids=["one pass", "windows"])
@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lengths=st.lists(st.integers(1, HORIZON), min_size=1, max_size=EPISODES), seed=st.integers(0, 10_000))
def test_adapts_as_python_does(libraries, method, network, divided, lengths, seed) -> None:
    controller = toy_controller(network, method)
    if method == "boil" and not network.hidden_sizes:
        return  # there is no body to adapt
    options = options_with_windows(controller) if divided else COptions()
    if options is None:
        return
    library, made = libraries(controller, (method, network, divided), options)
    assert bool(made.sizes.windows) == divided
    episodes = random_episodes(network, lengths, seed)
    assume(not is_on_an_edge(controller, episodes))
    robot = Robot(library, made)
    robot.record(episodes)
    observations = episodes[0]["observations"][:3]
    for observation in observations:
        np.testing.assert_allclose(robot.predict(observation), controller.predict(observation)[0], atol=1e-5)
    assert robot.call("adapt") == OK
    adapted = controller.adapt(episodes)
    assert_adapts_alike(robot, controller, adapted)
    for observation in observations:
        np.testing.assert_allclose(robot.predict(observation), adapted.predict(observation)[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("frozen", [False, True])
def test_several_inner_steps_add_up(libraries, method, frozen) -> None:
    """Each step adapts to fresh episodes of the policy before; one may leave a layer out that another one updates."""
    network = NETWORKS[1]
    controller = toy_controller(network, method, inner_steps=3)
    if frozen:
        step_sizes = controller.parameters[STEP_SIZES].clone()
        step_sizes[1] *= torch.tensor([0.0, 1.0, 0.0])
        controller = replace(controller, parameters=controller.parameters | {STEP_SIZES: step_sizes})
    library, made = libraries(controller, (method, "steps", frozen))
    robot, adapted = Robot(library, made), controller
    for step in range(3):
        episodes = random_episodes(network, (20, 7, 30), seed=step)
        robot.record(episodes)
        assert robot.call("adapt") == OK
        adapted = adapted.adapt(episodes, step)
        assert_adapts_alike(robot, controller, adapted)
        observation = episodes[0]["observations"][0]
        np.testing.assert_allclose(robot.predict(observation), adapted.predict(observation)[0], rtol=1e-4, atol=1e-4)
    assert robot.call("adapt") == robot.call("act", floats(np.zeros(5)), floats(np.zeros(3))) == ORDER
    robot.library.metarl_forget(robot.memory)
    np.testing.assert_allclose(robot.predict(observation), controller.predict(observation)[0], atol=1e-5)


@pytest.mark.parametrize("method", ["maml", "p-meta"])
def test_adapting_in_small_parts_lets_the_policy_act_in_between(libraries, method) -> None:
    controller = toy_controller(NETWORKS[1], method)
    library, made = libraries(controller, (method, NETWORKS[1], False), COptions())
    episodes = random_episodes(NETWORKS[1], (20, 7, 30), seed=3)
    whole, parts = Robot(library, made), Robot(library, made)
    for robot in (whole, parts):
        robot.record(episodes)
    assert whole.call("adapt") == OK
    observation = episodes[0]["observations"][0]
    before, calls = parts.predict(observation), 1
    while (status := parts.call("adapt_some", 1)) == MORE:
        np.testing.assert_array_equal(parts.predict(observation), before)
        calls += 1
    assert status == OK and calls > 20
    for name, change in whole.change().items():
        np.testing.assert_array_equal(parts.change()[name], change)


@pytest.mark.parametrize("seed", range(3))
def test_small_attention_modules_with_bounded_logits(libraries, seed) -> None:
    network = NETWORKS[1]
    parameters = device_parameters(network, "p-meta", modules=Modules(rank=2, bound=0.7))
    controller = device_controller(network, "p-meta", parameters, horizon=HORIZON)
    controller = replace(controller, metadata=replace(controller.metadata, episodes_per_step=EPISODES))
    library, made = libraries(controller, "small modules")
    robot, episodes = Robot(library, made), random_episodes(network, (20, 7, 30), seed)
    robot.record(episodes)
    assert robot.call("adapt") == OK
    assert_adapts_alike(robot, controller, controller.adapt(episodes))


def test_a_gate_scales_the_step(libraries) -> None:
    controller = toy_controller(NETWORKS[1], "maml")
    gate = {GATE: torch.tensor([[0.9, -0.4]]), GATE_STATISTICS: torch.tensor([-2.0, 3.0])}
    controller = replace(controller, parameters=controller.parameters | gate)
    library, made = libraries(controller, "gate")
    episodes = random_episodes(NETWORKS[1], (20, 7, 30), seed=3)
    for shift, still in ((0.0, False), (1.0, True)):  # a return so large that the gate closes
        shifted = [Episode(**(each | {"rewards": each["rewards"] + np.float32(shift)})) for each in episodes]
        robot = Robot(library, made)
        robot.record(shifted)
        assert robot.call("adapt") == OK
        assert_adapts_alike(robot, controller, controller.adapt(shifted))
        assert still == (not any(change.any() for change in robot.change().values()))


def test_rewards_that_tell_nothing_change_nothing(libraries) -> None:
    controller = toy_controller(NETWORKS[1], "maml")
    library, made = libraries(controller, ("maml", NETWORKS[1], False), COptions())
    for lengths in ((20, 20), (20,)):
        episodes = [
            Episode(**(each | {"rewards": np.full_like(each["rewards"], 0.1)}))
            for each in random_episodes(NETWORKS[1], lengths, seed=3)
        ]
        robot = Robot(library, made)
        robot.record(episodes)
        assert robot.call("adapt") == OK
        assert not any(change.any() for change in robot.change().values())


def test_what_it_records_is_what_it_did(libraries) -> None:
    """Actions are the mean plus noise; scaled and clipped they are what the actuators receive."""
    controller = toy_controller(NETWORKS[1], "maml")
    library, made = libraries(controller, ("maml", NETWORKS[1], False), COptions())
    robot, random, executed = Robot(library, made, seed=5), np.random.default_rng(0), []
    observations = random.standard_normal((30, 5), np.float32)
    rewards = random.standard_normal(30).astype(np.float32)
    for observation, reward in zip(observations, rewards, strict=True):
        executed.append(robot.predict(observation, "act"))
        assert robot.call("reward", ctypes.c_float(reward)) == OK
    assert robot.call("end_episode") == OK
    rows = np.frombuffer(bytes(robot.storage.data), np.float32).reshape(-1, 5 + 3 + 1)[:30]
    np.testing.assert_array_equal(rows[:, :5], observations)
    np.testing.assert_array_equal(rows[:, 8], rewards)
    actions = rows[:, 5:8]
    np.testing.assert_allclose(executed, controller.executed(actions), rtol=1e-6)
    noise = (actions - controller.policy_action(observations)) / controller.parameters["layer3.log_std"].exp().numpy()
    expected = [[noise_of(5, step, action) for action in range(3)] for step in range(30)]
    np.testing.assert_allclose(noise, expected, atol=1e-4)
    assert robot.call("adapt") == OK
    episode = Episode(observations=observations, actions=actions, rewards=rewards)
    assert_adapts_alike(robot, controller, controller.adapt([episode]))


def test_packed_recordings_hold_no_actions(libraries) -> None:
    """The policy sees observations of 8 bits; its noise is drawn again from the seed and the time step."""
    network, random = NETWORKS[1], np.random.default_rng(1)
    controller = toy_controller(network, "p-meta")
    low, high = np.full(5, -3, np.float32), np.array([3, 3, 3, 3, -3], np.float32)  # the last one never changes
    library, made = libraries(controller, "packed", COptions(packed_range=(low, high)))
    assert made.row_bytes == 5 + 4
    robot, episodes, row = Robot(library, made, seed=9), [], 0
    std = controller.parameters["layer3.log_std"].exp().numpy()
    for length in (20, 7, 30):
        observations = random.standard_normal((length, 5), np.float32) * 1.5  # some lie beyond the range
        observations[:, 4] = -3
        rewards = random.standard_normal(length).astype(np.float32)
        for observation, reward in zip(observations, rewards, strict=True):
            robot.predict(observation, "act")
            assert robot.call("reward", ctypes.c_float(reward)) == OK
        assert robot.call("end_episode") == OK
        steps = np.where(high > low, (high - low) / 255, 1)
        seen = (low + np.clip(np.floor((observations - low) / steps + 0.5), 0, 255) * steps).astype(np.float32)
        noise = np.array([[noise_of(9, row + step, action) for action in range(3)] for step in range(length)])
        row += length
        actions = controller.policy_action(seen) + (std * noise).astype(np.float32)
        episodes.append(Episode(observations=seen, actions=actions, rewards=rewards))
    assert not is_on_an_edge(controller, episodes)
    assert robot.call("record", floats(seen[0]), floats(actions[0])) == FULL
    assert robot.call("adapt") == OK
    assert_adapts_alike(robot, controller, controller.adapt(episodes))


def test_the_noise_is_normal(libraries) -> None:
    library, _ = libraries(toy_controller(NETWORKS[1], "maml"), ("maml", NETWORKS[1], False), COptions())
    library.metarl_noise.restype = ctypes.c_float
    for seed in (0, 1, 2**32 - 1):
        drawn = np.array([[library.metarl_noise(seed, step, action) for action in range(4)] for step in range(5000)])
        shares = np.sort(torch.special.ndtr(torch.from_numpy(drawn)).numpy().reshape(-1))
        # Kolmogorov and Smirnov: their largest distance is above 1.95 / sqrt(n) in one of 1000 cases.
        assert np.abs(shares - np.linspace(0, 1, shares.size)).max() < 1.95 / math.sqrt(shares.size)
        assert np.abs(np.corrcoef(drawn.T) - np.eye(4)).max() < 0.06
        assert abs(np.corrcoef(drawn[1:, 0], drawn[:-1, 0])[0, 1]) < 0.06
        expected = [[noise_of(seed, step, action) for action in range(4)] for step in range(50)]
        np.testing.assert_allclose(drawn[:50], expected, atol=1e-5)


def test_a_change_is_saved_and_restored(libraries) -> None:
    for method, divided in (("p-meta", False), ("maml", True)):
        controller = toy_controller(NETWORKS[1], method)
        options = options_with_windows(controller) if divided else COptions()
        library, made = libraries(controller, (method, NETWORKS[1], divided), options)
        robot, other = Robot(library, made), Robot(library, made)
        robot.record(random_episodes(NETWORKS[1], (20, 7, 30), seed=3))
        assert robot.call("adapt") == OK
        saved = Storage(robot.call("saved_bytes"))
        observation = np.ones(5, np.float32)
        assert robot.call("save", ctypes.byref(saved)) == OK
        assert other.call("restore", ctypes.byref(saved)) == OK
        np.testing.assert_array_equal(other.predict(observation), robot.predict(observation))
        assert robot.call("save", ctypes.byref(Storage(saved.bytes - 1))) == FULL
        before = controller.predict(observation)[0]
        for place in (0, 5, 13, 16, saved.bytes - 1):  # magic, checksum, CRC, change
            damaged, fresh = Storage(saved.bytes), Robot(library, made)
            ctypes.memmove(damaged.data, saved.data, saved.bytes)
            damaged.data[place] ^= 4
            assert fresh.call("restore", ctypes.byref(damaged)) == CORRUPT
            np.testing.assert_allclose(fresh.predict(observation), before, atol=1e-5)
        saved.fails = 1
        assert Robot(library, made).call("restore", ctypes.byref(saved)) == STORAGE


OBSERVATION, ACTION = np.zeros(5, np.float32), np.zeros(3, np.float32)


def test_calls_that_are_not_due(libraries) -> None:
    library, made = libraries(toy_controller(NETWORKS[1], "maml"), ("maml", NETWORKS[1], False), COptions())
    robot = Robot(library, made)
    act, reward = ("act", floats(OBSERVATION), floats(ACTION)), ("reward", ctypes.c_float(1.0))
    assert robot.call(*reward) == ORDER
    assert robot.call("end_episode") == robot.call("adapt") == EMPTY
    assert robot.call(*act) == OK
    assert robot.call(*act) == robot.call("end_episode") == robot.call("adapt") == ORDER
    assert robot.call("reward", ctypes.c_float(math.nan)) == NOT_FINITE
    assert robot.call(*reward) == OK
    assert robot.call("adapt") == ORDER  # the episode has not ended
    bad = np.full(5, np.inf, np.float32)
    assert (
        robot.call("act", floats(bad), floats(ACTION))
        == robot.call("predict", floats(bad), floats(ACTION))
        == NOT_FINITE
    )
    assert robot.call("record", floats(OBSERVATION), floats(np.full(3, np.nan, np.float32))) == NOT_FINITE
    for _ in range(HORIZON - 1):
        assert robot.call(*act) == robot.call(*reward) == OK
    assert robot.call(*act) == FULL
    for _ in range(EPISODES - 1):
        assert robot.call("end_episode") == robot.call(*act) == robot.call(*reward) == OK
    assert robot.call("end_episode") == OK
    assert robot.call(*act) == FULL
    assert robot.call("adapt_some", 3) == MORE
    assert robot.call(*act) == robot.call("end_episode") == ORDER
    assert robot.call("adapt") == OK
    assert robot.call(*act) == robot.call("adapt") == ORDER
    small = Robot(library, made, storage=made.row_bytes * 2)
    assert small.call(*act) == small.call(*reward) == small.call(*act) == small.call(*reward) == OK
    assert small.call(*act) == FULL


def test_a_failed_step_leaves_the_policy_and_the_recording(libraries) -> None:
    """The storage fails at one call after the other; in the end the step is as if it never had."""
    controller = toy_controller(NETWORKS[1], "p-meta")
    library, made = libraries(controller, ("p-meta", NETWORKS[1], False), COptions())
    episodes = random_episodes(NETWORKS[1], (20, 7, 30), seed=3)
    robot = Robot(library, made)
    robot.record(episodes)
    before = robot.predict(OBSERVATION)
    for fails in (0, 1, 5, 50, 100, 200, 300, 400):
        robot.storage.fails = fails
        assert robot.call("adapt") == STORAGE
        np.testing.assert_array_equal(robot.predict(OBSERVATION), before)
    robot.storage.fails = 0
    assert robot.call("act", floats(OBSERVATION), floats(ACTION)) == FULL
    robot.storage.fails = None
    assert robot.call("adapt") == OK
    assert_adapts_alike(robot, controller, controller.adapt(episodes))


def test_storage_that_fails_while_recording_loses_no_more_than_the_call(libraries) -> None:
    controller = toy_controller(NETWORKS[1], "maml")
    library, made = libraries(controller, ("maml", NETWORKS[1], False), COptions())
    episodes = random_episodes(NETWORKS[1], (20,), seed=3)
    robot = Robot(library, made)
    for step in range(20):
        observation, action, reward = (episodes[0][part][step] for part in ("observations", "actions", "rewards"))
        for fails in (0, 1):
            robot.storage.fails = fails
            assert robot.call("record", floats(observation), floats(action)) == STORAGE
        robot.storage.fails = None
        assert robot.call("record", floats(observation), floats(action)) == OK
        robot.storage.fails = 0
        assert robot.call("reward", ctypes.c_float(reward)) == STORAGE
        robot.storage.fails = None
        assert robot.call("reward", ctypes.c_float(reward)) == OK
    assert robot.call("end_episode") == robot.call("adapt") == OK
    assert_adapts_alike(robot, controller, controller.adapt(episodes))


def test_too_many_channels_and_numbers_that_overflow(libraries) -> None:
    controller = toy_controller(NETWORKS[1], "p-meta")
    library, made = libraries(controller, "narrow", COptions(channels={"layer1": 1, "layer2": 1}))
    episodes = random_episodes(NETWORKS[1], (20, 7, 30), seed=3)
    robot = Robot(library, made)
    robot.record(episodes)
    before = robot.predict(OBSERVATION)
    assert robot.call("adapt") == CAPACITY
    np.testing.assert_array_equal(robot.predict(OBSERVATION), before)
    library, made = libraries(toy_controller(NETWORKS[1], "maml"), ("maml", NETWORKS[1], False), COptions())
    for part in ("observations", "actions"):
        robot = Robot(library, made)
        huge = Episode(**(episodes[0] | {part: np.full_like(episodes[0][part], 3e38)}))
        robot.record([huge, episodes[1]])
        before = robot.predict(OBSERVATION)
        assert robot.call("adapt") == NOT_FINITE
        np.testing.assert_array_equal(robot.predict(OBSERVATION), before)


def test_two_robots_share_a_program(libraries) -> None:
    controller = toy_controller(NETWORKS[1], "maml")
    library, made = libraries(controller, ("maml", NETWORKS[1], False), COptions())
    robots = [Robot(library, made), Robot(library, made)]
    for number, robot in enumerate(robots):
        robot.record(random_episodes(NETWORKS[1], (20, 7), seed=number))
    while any(robot.call("adapt_some", 1) == MORE for robot in robots if robot.memory):
        pass
    for number, robot in enumerate(robots):
        assert_adapts_alike(robot, controller, controller.adapt(random_episodes(NETWORKS[1], (20, 7), seed=number)))


def test_a_policy_alone(libraries) -> None:
    controller = toy_controller(NETWORKS[1], "p-meta").adapt(random_episodes(NETWORKS[1], (20, 7), seed=0))
    library, made = libraries(controller, "policy", COptions(policy_only=True))
    robot = Robot(library, made)
    np.testing.assert_allclose(robot.predict(OBSERVATION), controller.predict(OBSERVATION)[0], atol=1e-5)
    assert robot.call("act", floats(OBSERVATION), floats(ACTION)) == robot.call("adapt") == ORDER
    assert made.robot_bytes == STATE_BYTES + 2 * 4 * 9
    assert made.modules == {} and made.storage_bytes == 0


def with_statistics(controller: Controller) -> Controller:
    size = controller.network.observation_size
    statistics = {MEAN: torch.linspace(-1, 2, size), STD: torch.linspace(0.5, 3, size), COUNT: torch.full((1,), 40.0)}
    return replace(controller, parameters=controller.parameters | statistics)


def test_a_policy_alone_normalizes_its_observations(libraries) -> None:
    controller = with_statistics(toy_controller(NETWORKS[1], "maml"))
    library, made = libraries(controller, "normalized", COptions(policy_only=True))
    robot = Robot(library, made)
    np.testing.assert_allclose(robot.predict(OBSERVATION), controller.predict(OBSERVATION)[0], atol=1e-5)


def test_a_robot_that_adapts_normalizes_too(libraries) -> None:
    """One observation is so far from the mean that it is clipped."""
    controller = with_statistics(toy_controller(NETWORKS[1], "maml"))
    library, made = libraries(controller, "normalized robot", COptions())
    episodes = random_episodes(NETWORKS[1], (20, 7, 30), seed=3)
    episodes[1]["observations"][2] = 50
    robot = Robot(library, made)
    robot.record(episodes)
    np.testing.assert_allclose(robot.predict(OBSERVATION), controller.predict(OBSERVATION)[0], atol=1e-5)
    assert robot.call("adapt") == OK
    adapted = controller.adapt(episodes)
    assert_adapts_alike(robot, controller, adapted)
    np.testing.assert_allclose(robot.predict(OBSERVATION), adapted.predict(OBSERVATION)[0], rtol=1e-4, atol=1e-4)


def test_text_of_a_stranger_is_no_code(tmp_path: Path) -> None:
    controller = toy_controller(NETWORKS[0], "maml")
    metadata = replace(controller.metadata, family='*/ #error "\n /*', task_fields=(FieldRecord("*/", 0, 1),))
    compiled(replace(controller, metadata=metadata), tmp_path)


def test_it_is_cpp_too(tmp_path: Path) -> None:
    compiled(toy_controller(NETWORKS[1], "p-meta", inner_steps=2), tmp_path)
    for source in (tmp_path / "c").glob("*.c"):
        command = ["c++", "-x", "c++", "-std=c++11", "-pedantic", "-Wall", "-Wextra", "-Werror", "-c", str(source)]
        subprocess.run([*command, "-o", str(tmp_path / "object.o")], check=True)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_a_robot_without_tanh_carries_none_of_its_code(activation: Activation, tmp_path: Path) -> None:
    compiled(toy_controller(replace(NETWORKS[1], activation=activation), "maml"), tmp_path)
    sources = [str(source) for source in (tmp_path / "c").glob("*.c")]
    program = str(tmp_path / "program")
    small = ["-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections"]
    subprocess.run(["cc", "-std=c99", *small, *sources, "-o", program, "-lm"], check=True)
    listing = subprocess.run(["nm", program], check=True, capture_output=True, text=True).stdout
    assert ("metarl_tanh" in listing) is (activation == "tanh")


def test_it_needs_no_heap_and_has_no_variables(tmp_path: Path) -> None:
    compiled(toy_controller(NETWORKS[1], "p-meta", inner_steps=2), tmp_path)
    used: set[str] = set()
    for source in (*(tmp_path / "c").glob("metarl*.c"), *(tmp_path / "c").glob("p_meta_[ct]*.c")):
        subprocess.run(["cc", "-std=c99", "-fno-pic", "-c", str(source), "-o", str(tmp_path / "object.o")], check=True)
        listing = subprocess.run(["nm", str(tmp_path / "object.o")], check=True, capture_output=True, text=True).stdout
        for line in listing.splitlines():
            kind, name = line.split()[-2:]
            assert kind not in "bBdDC", line
            used |= {name} if kind == "U" and "metarl" not in name and "p_meta" not in name else set()
    assert used <= {
        "memcpy",
        "memset",
        "expf",
        "tanhf",
        "logf",
        "cosf",
        "sqrtf",
        "sqrt",
        "__stack_chk_fail",
        "_GLOBAL_OFFSET_TABLE_",
    }
