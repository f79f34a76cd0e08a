"""The emitted C on emulated Cortex-M boards and, with sanitizers, on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import torch
from device_problems import device_controller, device_parameters

from metarl.core.errors import Refusal
from metarl.experiments.bench.device import simulated
from metarl.policies.controller import Controller
from metarl.policies.device.episodes import Episode
from metarl.policies.device.scores import kept_channels
from metarl.policies.export import emulation
from metarl.policies.export.c import COptions, generated
from metarl.policies.export.emulation import ARM, BOARDS, QEMU, emulate
from metarl.policies.export.robot_data import with_room
from metarl.policies.loading import load_controller
from metarl.policies.networks.mlp import GaussianMLP
from metarl.policies.normalization import COUNT, MEAN, STD

needs_board = pytest.mark.skipif(
    not (shutil.which(ARM) and shutil.which(QEMU)) and "METARL_REQUIRE_QEMU" not in os.environ,
    reason=f"emulation needs {ARM} and {QEMU}: install {emulation.PACKAGES[ARM]} and {emulation.PACKAGES[QEMU]}",
)
needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler: install gcc or clang")


def smooth_episodes(network: GaussianMLP, lengths: list[int], seed: int = 0) -> list[Episode]:
    """Observations that wander like those of a robot, so that attention keeps few channels."""
    random = np.random.default_rng(seed)
    return [
        Episode(
            observations=np.cumsum(0.1 * random.standard_normal((length, network.observation_size)), axis=0),
            actions=random.standard_normal((length, network.action_size)),
            rewards=random.standard_normal(length),
        )
        for length in lengths
    ]


def toy_controller(method: str, inner_steps: int = 1) -> Controller:
    network = GaussianMLP(5, (9, 6), 3)
    controller = device_controller(
        network, method, device_parameters(network, method, inner_steps=inner_steps), horizon=30
    )
    return replace(controller, metadata=replace(controller.metadata, episodes_per_step=3))


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("ram", [None, 4000])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("method", "steps"), [("maml", 1), ("p-meta", 1), ("p-meta", 2), ("anil", 2)])
def test_sanitizers_find_nothing(method: str, steps: int, packed: bool, ram: int | None) -> None:
    controller = toy_controller(method, steps)
    ranges = (np.full(5, -3, np.float32), np.full(5, 3, np.float32)) if packed else None
    try:
        made = generated(controller, COptions(ram=ram, packed_range=ranges))
    except Refusal:
        return
    flags = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    ran = emulate(made, smooth_episodes(controller.network, [30, 1, 7]), optimize=flags)
    assert ran.status == 0
    assert ran.max_difference < 1e-5 * (1 + ran.largest_change)


@needs_compiler
@pytest.mark.parametrize("packed", [False, True])
def test_normalized_observations_are_compared_as_the_policy_sees_them(packed: bool) -> None:
    controller = toy_controller("maml")
    statistics = {MEAN: torch.linspace(-1, 2, 5), STD: torch.linspace(0.5, 3, 5), COUNT: torch.full((1,), 40.0)}
    controller = replace(controller, parameters=controller.parameters | statistics)
    ranges = (np.full(5, -4, np.float32), np.full(5, 4, np.float32)) if packed else None
    made = generated(controller, COptions(packed_range=ranges))
    ran = emulate(made, smooth_episodes(controller.network, [30, 7]))
    assert ran.status == 0 and ran.largest_change > 1e-3
    assert max(ran.max_difference, ran.max_action_difference) < 1e-5


@needs_board
@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize(("method", "ram"), [("anil", 16384), ("p-meta", 32768), ("maml", 32768)])
def test_a_cheetah_adapts_on_a_board(method: str, ram: int, board: str) -> None:
    """Five short episodes; the board's RAM ends where the budget does, so that too much would not link."""
    controller = load_controller(f"half-cheetah-velocity/{method}")
    episodes = smooth_episodes(controller.network, [40] * 5)
    made = generated(controller, COptions(ram=ram))
    kept = kept_channels(controller.network, controller.parameters, made.layers, episodes, made.estimator)
    made = generated(controller, COptions(ram=ram, channels=kept))
    ran = emulate(made, episodes, board, ram)
    assert ran.status == 0
    assert ran.max_difference < 1e-5
    assert ran.max_action_difference < 1e-5
    assert ran.robot_bytes == ran.planned_ram_bytes
    assert ran.ram_bytes <= ram
    assert 200 < ran.stack_bytes < 2048
    assert ran.flash_bytes["code"] < 12_000


@needs_board
@pytest.mark.slow
def test_p_meta_adapts_in_32_kilobytes_and_650_million_instructions() -> None:
    """Twenty episodes of 200 steps beside raw recordings, as the shipped controller adapts."""
    controller = load_controller("half-cheetah-velocity/p-meta")
    data = simulated(controller)
    made = generated(controller, COptions(ram=32768, channels=with_room(data.channels, controller)))
    ran = emulate(made, data.episodes, "qemu-m4", 32768)
    assert ran.status == 0
    assert ran.max_difference < 1e-5
    assert ran.robot_bytes == ran.planned_ram_bytes
    assert ran.instructions["adapt"] < 650e6


@needs_board
def test_a_robot_that_exceeds_the_ram_does_not_link() -> None:
    made = generated(toy_controller("maml"), COptions())
    with pytest.raises(Refusal, match="failed: .*region `ram' overflowed"):
        emulate(made, smooth_episodes(made.controller.network, [30]), "qemu-m4", 1024)


def test_missing_tools_are_named_with_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda tool: None)
    with pytest.raises(Refusal, match="qemu-m4 needs arm-none-eabi-gcc and qemu-system-arm: install gcc-arm-none-eabi"):
        emulation.check_tools("qemu-m4")
    with pytest.raises(Refusal, match="host needs cc: install gcc"):
        emulation.check_tools("host")


def test_a_tool_that_fails_or_hangs_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    with pytest.raises(Refusal, match="false failed"):
        emulation._call(tmp_path, ["false"])
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: (_ for _ in ()).throw(subprocess.TimeoutExpired("x", 1)))
    with pytest.raises(Refusal, match="did not end within"):
        emulation._call(tmp_path, ["x"])
