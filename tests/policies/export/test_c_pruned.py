"""A pruned controller in C, which stores, computes and adapts its kept weights alone, against ``Controller.adapt``."""

import ctypes
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from c_problems import (
    HORIZON,
    assert_adapts_alike,
    is_on_an_edge,
    options_with_windows,
    random_episodes,
    toy_controller,
)
from c_robot import OK, Robot, Storage, compiled, needs_compiler
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from masked import pruned

from metarl.policies.compression.masks import MASK, kept_weights, masked
from metarl.policies.controller import Controller
from metarl.policies.export.c import COptions, generated
from metarl.policies.export.c_files import STATE_BYTES
from metarl.policies.export.emulation import ARM, QEMU, emulate
from metarl.policies.gate import GATE, GATE_STATISTICS
from metarl.policies.methods import METHODS, STEP_SIZES
from metarl.policies.networks.mlp import GaussianMLP

NETWORK = GaussianMLP(5, (9, 6), 3)
WIDE = GaussianMLP(3, (5, 300), 2)  # a byte does not tell the outputs of its second layer apart
needs_board = pytest.mark.skipif(
    not (shutil.which(ARM) and shutil.which(QEMU)) and "METARL_REQUIRE_QEMU" not in os.environ,
    reason=f"{ARM} or {QEMU} is not installed",
)


def pruned_controller(method: str, network: GaussianMLP = NETWORK, inner_steps: int = 1, seed: int = 0) -> Controller:
    controller = toy_controller(network, method, inner_steps)
    return replace(controller, parameters=pruned(controller.parameters, controller.network, seed=seed))


def without_weights(controller: Controller, *names: str) -> Controller:
    """The controller with no weight left in some matrices."""
    empty = {name + MASK: torch.zeros_like(controller.parameters[name]) for name in names}
    return replace(controller, parameters=masked(controller.parameters | empty))


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made: dict[Any, Any] = {}

    def library(controller: Controller, key: Any, options: COptions | None = None) -> Any:
        if key not in made:
            made[key] = compiled(controller, tmp_path_factory.mktemp("c"), options)
        return made[key]

    return library


def assert_pruned_weights_stay(robot: Robot, controller: Controller) -> None:
    changes = robot.change()
    for name in kept_weights(controller.parameters, controller.network):
        mask = controller.parameters[f"{name}.weight{MASK}"].numpy()
        assert not changes.get(f"{name}.weight", np.zeros_like(mask))[mask == 0].any()


@needs_compiler
@pytest.mark.parametrize(
    ("method", "network", "divided"),
    [
        *((method, NETWORK, False) for method in METHODS),
        *((method, NETWORK, True) for method in ("maml", "anil", "p-meta")),
        *(("maml", WIDE, False), ("p-meta", WIDE, False), ("maml", WIDE, True)),
    ],
    ids=lambda each: str(each.sizes) if isinstance(each, GaussianMLP) else str(each),
)
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lengths=st.lists(st.integers(1, HORIZON), min_size=1, max_size=3), seed=st.integers(0, 10_000))
def test_adapts_as_python_does(libraries, method, network, divided, lengths, seed) -> None:
    controller = pruned_controller(method, network)
    options = options_with_windows(controller) if divided else COptions()
    if options is None:
        return
    library, made = libraries(controller, (method, network, divided), options)
    assert bool(made.sizes.windows) == divided
    assert library.robot_bytes() - library.arena_offset() == made.arena_bytes
    episodes = random_episodes(controller.network, lengths, seed)
    assume(not is_on_an_edge(controller, episodes))
    robot, observation = Robot(library, made), episodes[0]["observations"][0]
    robot.record(episodes)
    np.testing.assert_allclose(robot.predict(observation), controller.predict(observation)[0], atol=1e-5)
    assert robot.call("adapt") == OK
    adapted = controller.adapt(episodes)
    assert_adapts_alike(robot, controller, adapted)
    assert_pruned_weights_stay(robot, controller)
    np.testing.assert_allclose(robot.predict(observation), adapted.predict(observation)[0], rtol=1e-4, atol=1e-4)


@needs_compiler
@pytest.mark.parametrize(
    ("method", "frozen"),
    [("maml", False), ("maml", True), ("boil", False), ("cavia", False), ("p-meta", False), ("p-meta", True)],
)
def test_several_inner_steps_add_up(libraries, method, frozen) -> None:
    controller = pruned_controller(method, inner_steps=3)
    if frozen:
        step_sizes = controller.parameters[STEP_SIZES].clone()
        step_sizes[0] *= torch.tensor([0.0, 1.0, 0.0])
        controller = replace(controller, parameters=controller.parameters | {STEP_SIZES: step_sizes})
    library, made = libraries(controller, (method, "steps", frozen))
    robot, adapted = Robot(library, made), controller
    for step in range(3):
        episodes = random_episodes(controller.network, (20, 7, 30), seed=step)
        robot.record(episodes)
        assert robot.call("adapt") == OK
        adapted = adapted.adapt(episodes, step)
        assert_adapts_alike(robot, controller, adapted)
        observation = episodes[0]["observations"][0]
        np.testing.assert_allclose(robot.predict(observation), adapted.predict(observation)[0], rtol=1e-4, atol=1e-4)
    saved, other = Storage(robot.call("saved_bytes")), Robot(library, made)
    assert robot.call("save", ctypes.byref(saved)) == other.call("restore", ctypes.byref(saved)) == OK
    np.testing.assert_array_equal(other.predict(observation), robot.predict(observation))


@needs_compiler
def test_a_gate_scales_the_step(libraries) -> None:
    controller = pruned_controller("maml")
    gate = {GATE: torch.tensor([[0.9, -0.4]]), GATE_STATISTICS: torch.tensor([-2.0, 3.0])}
    controller = replace(controller, parameters=controller.parameters | gate)
    library, made = libraries(controller, "gate")
    robot, episodes = Robot(library, made), random_episodes(NETWORK, (20, 7, 30), seed=3)
    robot.record(episodes)
    assert robot.call("adapt") == OK
    assert_adapts_alike(robot, controller, controller.adapt(episodes))


@needs_compiler
@pytest.mark.parametrize(("method", "baseline"), [("anil", "time"), ("cavia", "full"), ("maml", "time")])
@pytest.mark.parametrize("steps", [1, 2])
def test_nothing_stored(libraries, method, baseline, steps) -> None:
    controller = pruned_controller(method, inner_steps=steps)
    controller = replace(controller, metadata=replace(controller.metadata, baseline=baseline))
    library, made = libraries(controller, (method, steps, "streaming"), COptions(streaming=True))
    assert made.storage_bytes == 0
    robot, adapted = Robot(library, made), controller
    for step in range(steps):
        episodes = random_episodes(controller.network, (20, 7, 30), seed=step)
        robot.record(episodes)
        assert robot.call("adapt") == OK
        adapted = adapted.adapt(episodes, step)
    assert_adapts_alike(robot, controller, adapted)


@needs_compiler
@pytest.mark.parametrize("names", [("layer1.weight",), ("layer2.weight", "layer3.weight")])
@pytest.mark.parametrize("divided", [False, True], ids=["one pass", "windows"])
@pytest.mark.parametrize("steps", [1, 2])
def test_layers_without_a_weight_left_adapt_their_biases(libraries, names, divided, steps) -> None:
    controller = without_weights(pruned_controller("maml", inner_steps=steps), *names)
    options = options_with_windows(controller) if divided else COptions()
    if options is None:
        return
    library, made = libraries(controller, (names, divided, steps), options)
    robot, episodes = Robot(library, made), random_episodes(NETWORK, (20, 7, 30), seed=3)
    robot.record(episodes)
    assert robot.call("adapt") == OK
    assert_adapts_alike(robot, controller, controller.adapt(episodes))


def test_bytes_by_hand() -> None:
    """Each kept weight takes 4 bytes of RAM, and 5 of tables; each input takes 2 more of tables."""
    network = GaussianMLP(5, (40, 30), 3)
    weights, inputs, vectors = 5 * 40 + 40 * 30 + 30 * 3, 5 + 40 + 30, 40 + 30 + 3 + 3
    kept = sum(kept_weights(pruned_controller("maml", network).parameters, network).values())
    assert 0.3 * weights < kept < 0.5 * weights
    dense, made = (
        generated(make(network=network, method="maml"), COptions()) for make in (toy_controller, pruned_controller)
    )
    assert dense.program.plan.bytes - made.program.plan.bytes == 4 * (weights - kept)
    assert dense.tables_bytes == 4 * (weights + vectors)
    assert made.tables_bytes == 5 * kept + 2 * inputs + 4 * vectors


@needs_compiler
@pytest.mark.parametrize("network", [NETWORK, WIDE], ids=lambda network: str(network.sizes))
def test_a_policy_alone_has_the_kept_weights_alone(libraries, network) -> None:
    controller = pruned_controller("p-meta", network).adapt(random_episodes(network, (20, 7), seed=0))
    library, made = libraries(controller, ("policy", network), COptions(policy_only=True))
    observation = np.linspace(-1, 1, network.observation_size, dtype=np.float32)
    np.testing.assert_allclose(Robot(library, made).predict(observation), controller.predict(observation)[0], atol=1e-5)
    assert made.robot_bytes == STATE_BYTES + -(-2 * 4 * max(network.sizes) // 8) * 8
    _, tables = made.tables()
    kept = kept_weights(controller.parameters, network)
    for name, count in kept.items():
        assert f"_{name}_weight[{count}]" in tables and f"_{name}_kept_outputs[{count}]" in tables


@needs_compiler
def test_it_is_cpp_too(tmp_path: Path) -> None:
    compiled(pruned_controller("p-meta", inner_steps=2), tmp_path)
    for source in (tmp_path / "c").glob("*.c"):
        command = ["c++", "-x", "c++", "-std=c++11", "-pedantic", "-Wall", "-Wextra", "-Werror", "-c", str(source)]
        subprocess.run([*command, "-o", str(tmp_path / "object.o")], check=True)


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "network", "steps", "ram"),
    [("maml", NETWORK, 1, 3900), ("maml", WIDE, 1, None), ("p-meta", NETWORK, 2, None), ("anil", NETWORK, 2, None)],
)
def test_sanitizers_find_nothing(method: str, network: GaussianMLP, steps: int, ram: int | None) -> None:
    flags = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    made = generated(pruned_controller(method, network, steps), COptions(ram=ram))
    ran = emulate(made, random_episodes(network, [30, 1, 7], seed=2), optimize=flags)
    assert ran.status == 0
    assert ran.max_difference < 1e-5 * (1 + ran.largest_change)


@needs_board
@pytest.mark.slow
def test_a_pruned_robot_takes_less_of_everything_on_a_board() -> None:
    """At a tenth of the weights: the same numbers as Python, the planned bytes, less flash and fewer instructions."""
    network = GaussianMLP(20, (50, 50), 6)
    dense = toy_controller(network, "maml")
    controller = replace(dense, parameters=pruned(dense.parameters, network, share=0.9))
    episodes = random_episodes(network, (20, 7, 30), seed=3)
    was, now = (emulate(generated(each, COptions()), episodes, "qemu-m4") for each in (dense, controller))
    assert now.status == 0 and now.max_difference < 1e-5
    assert now.robot_bytes == now.planned_ram_bytes
    assert now.ram_bytes < 0.6 * was.ram_bytes
    assert now.flash_bytes["tables"] < was.flash_bytes["tables"] / 4
    assert now.instructions["predict_after"] < was.instructions["predict_after"] / 2
    assert now.instructions["adapt"] < was.instructions["adapt"]
