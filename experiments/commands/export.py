"""``metarl export``: a controller as C for a microcontroller or as ONNX, and what it takes on an emulated board."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from metarl.core.atomic import write_atomically
from metarl.core.errors import Refusal
from metarl.envs.registry import FAMILIES
from metarl.experiments.analysis import costs
from metarl.experiments.console.constructors import ControllerFile, Family, Maybe
from metarl.experiments.console.families import family_for
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import check_new_file, parse, refuse, require_at_least
from metarl.policies.classifier import Classifier
from metarl.policies.controller import Controller, require_vectors
from metarl.policies.export.c import COptions, check_new_folder, check_that_streaming_pays, generated, write_c
from metarl.policies.export.emulation import Emulation, check_tools, emulate
from metarl.policies.export.robot_data import RobotData, read_ranges, robot_data, with_room
from metarl.policies.loading import load, require_controller
from metarl.rl.evaluation import family_of

UNITS = {"": 1, "K": 1024, "M": 1024**2}
CYCLES = (1.0, 1.6)  # per instruction, about, on a Cortex-M4 or M7 that runs from flash
OF_C = ("ram", "storage", "channels", "prefix", "policy_only", "observation_range", "run", "clock", "json")


@dataclass(frozen=True)
class Export:
    """Write a controller for where there is no Python.

    c: C99 for a microcontroller, which records episodes and adapts there.

    onnx: the policy alone, or an image network, for other runtimes.
    """

    controller: ControllerFile
    """The controller's file, its run's folder, or FAMILY/METHOD of one that ships with metarl."""
    out: Path
    """Folder of C, which must be new or empty, or file of ONNX, which must be new."""
    subnet: Maybe[int] = None
    """Which subnet of a nested controller, 1 the densest."""
    target: Literal["c", "onnx"] = "c"
    """What to write."""
    ram: Maybe[str] = None
    """RAM that it must fit into with its stack, e.g. 32K: several passes take less. No bound if left out."""
    storage: Literal["raw", "packed", "none"] = "raw"
    """Recorded episodes: float32, observations of 8 bits whose exploration noise is drawn again, or nothing stored,
    for anil trained with --baseline time, and cavia."""
    channels: Maybe[int] = None
    """Channels of a layer that attention may keep; 1.5 times those kept in simulation if left out."""
    prefix: Maybe[str] = None
    """What names in C begin with; the method if left out."""
    policy_only: bool = False
    """Leave out recording and adapting."""
    observation_range: Maybe[Path] = None
    """JSON file with lists low and high, for packed recordings; from simulation if left out."""
    run: Maybe[Literal["host", "qemu-m4", "qemu-m7", "qemu-m33"]] = None
    """Build it, run it on recorded episodes, and compare it with Python: here or on an emulated Cortex-M."""
    clock: float = 200.0
    """Clock in MHz, for an estimate of the seconds."""
    json: Maybe[Path] = None
    """Write what the run measured to this file, which must be new."""
    seed: int = 1
    """Seed of the simulated episodes."""
    family: Family = None
    """Task family; needed where the controller was trained on one of your own (module:attribute)."""

    def __post_init__(self) -> None:
        require_at_least(0, seed=self.seed)
        require_at_least(1, channels=self.channels)
        if self.target == "onnx":
            refuse(self, "belongs to --target c", *OF_C)
        if self.json is not None and self.run is None:
            raise Refusal("--json belongs to --run: it holds what the run measures")
        if self.policy_only and (self.run or self.storage != "raw" or self.channels):
            raise Refusal("--policy-only goes without --run, --storage and --channels: it does not adapt")
        if self.observation_range is not None and self.storage != "packed":
            raise Refusal("--observation-range belongs to --storage packed")
        if not 0 < self.clock < float("inf"):
            raise Refusal(f"--clock must be a number of MHz above 0, got {self.clock:g}")


def main(arguments: Sequence[str]) -> None:
    """Run the command; raise Refusal saying what is wrong with its arguments."""
    command = parse(Export, arguments, "metarl export")
    ram = None if command.ram is None else read_bytes(command.ram)
    if command.json:
        check_new_file(command.json)
    loaded = load(command.controller, command.subnet)
    if command.target == "onnx":
        export_onnx(loaded, command.out)
        Terminal().print(f"ONNX: {command.out}", soft_wrap=True)
        return
    controller = require_controller(loaded, str(command.controller))
    require_vectors(controller, "the export to C")
    if command.run:
        check_tools(command.run)
    check_new_folder(command.out)
    export_c(command, controller, ram)


def export_c(command: Export, controller: Controller, ram: int | None) -> None:
    """Write the folder of C, and run it if that is asked for."""
    data = None if command.policy_only else simulated(command, controller)
    options = COptions(
        ram=ram,
        channels=None if data is None else channels(command, controller, data),
        packed_range=packed_range(command, controller, data),
        prefix=command.prefix,
        policy_only=command.policy_only,
        streaming=command.storage == "none",
    )
    if options.streaming:
        check_that_streaming_pays(generated(controller, options))
    made = write_c(controller, command.out, options, data.episodes if data else ())
    console = Terminal()
    for line in made.facts():
        console.print(line, soft_wrap=True)
    console.print(f"C: {command.out}", soft_wrap=True)
    if command.run:
        assert data is not None
        ran = emulate(made, data.episodes, command.run, ram)
        for line in sentences(ran, command.run, command.clock):
            console.print(line, soft_wrap=True)
        if command.json:
            write_atomically(command.json, (json.dumps(asdict(ran), indent=2) + "\n").encode())


def simulated(command: Export, controller: Controller) -> RobotData:
    """Return what simulated robots recorded, or random numbers where the family is not at hand."""
    if command.family is None and controller.metadata.family not in FAMILIES:
        return robot_data(controller, costs.random_episodes(controller, command.seed))
    family = family_of(controller, family_for(controller, command.family))
    with costs.environment_episodes(controller, family, command.seed) as recorded:
        return robot_data(controller, recorded)


def channels(command: Export, controller: Controller, data: RobotData) -> dict[str, int]:
    """Return how many channels to leave room for, by layer."""
    if command.channels is None:
        return with_room(data.channels, controller)
    return dict.fromkeys(data.channels, command.channels)


def packed_range(command: Export, controller: Controller, data: RobotData | None) -> Any:
    """Return the ranges of the observations of packed recordings; None for raw ones."""
    if command.storage != "packed" or data is None:
        return None
    if command.observation_range is not None:
        return read_ranges(command.observation_range, controller)
    return data.observations


def read_bytes(text: str) -> int:
    """Return a number of bytes such as 32768 or 32K."""
    match = re.fullmatch(r"([0-9]{1,9})([KM]?)B?", text.upper())
    if not match or not int(match[1]):
        raise Refusal(f"--ram takes a number of bytes such as 32768 or 32K, got '{text}'")
    return int(match[1]) * UNITS[match[2]]


def export_onnx(controller: Controller | Classifier, out: Path) -> None:
    """Write a policy or an image network as ONNX."""
    from metarl.policies.export.onnx import write_onnx

    check_new_file(out)
    write_onnx(controller, out)


def sentences(ran: Emulation, target: str, clock: float) -> list[str]:
    """Say what a run found."""
    if ran.status != 0:
        return [f"{target}: adapting failed with status {ran.status} of metarl.h"]
    lines = [
        f"{target}: largest difference to Python {ran.max_difference:.1e} in a parameter (the largest change is "
        f"{ran.largest_change:.3f}), {ran.max_action_difference:.1e} in an action of the adapted policy"
    ]
    if ran.ram_bytes:
        lines.append(
            f"RAM {ran.ram_bytes} bytes: the robot {ran.robot_bytes}, as planned {ran.planned_ram_bytes}, the stack "
            f"{ran.stack_bytes}; flash: code {ran.flash_bytes['code']}, C library {ran.flash_bytes['library']}, tables "
            f"{ran.flash_bytes['tables']}"
        )
    if ran.instructions:
        calls = ran.instructions
        seconds = " to ".join(f"{calls['adapt'] * cycles / clock / 1e6:.1f}" for cycles in CYCLES)
        lines.append(
            f"instructions: adapt {calls['adapt'] / 1e6:.1f} M (about {seconds} s at {clock:g} MHz, if an instruction "
            f"takes {CYCLES[0]:g} to {CYCLES[1]:g} cycles: QEMU counts no cycles), act {calls['act']:.0f}, reward "
            f"{calls['reward']:.0f}, predict {calls['predict_before']:.0f} before adapting and "
            f"{calls['predict_after']:.0f} after"
        )
    return lines
