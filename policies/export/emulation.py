"""A controller in C on recorded episodes: on this machine or an emulated Cortex-M board, against Python's result."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from metarl.core.errors import Refusal
from metarl.policies.controller import Controller
from metarl.policies.device.episodes import Episode, checked_episodes
from metarl.policies.export.c import files
from metarl.policies.export.c_extras import table_of
from metarl.policies.export.c_files import Generated
from metarl.policies.export.c_text import number, rows, shipped
from metarl.policies.export.recordings import as_recorded, normalized
from metarl.policies.networks.network import Parameters

SEED = 1  # of the robot's noise
TRIALS = 16  # calls over which main.c averages
SECONDS = 600  # after which an emulation counts as hung
WARNINGS = [
    "-Wall",
    "-Wextra",
    "-Wconversion",
    "-Wdouble-promotion",
    "-Wvla",
    "-Wshadow",
    "-Werror",
    "-std=c99",
    "-pedantic",
]
FLAGS = (*WARNINGS, "-ffp-contract=fast", "-fno-math-errno", "-ffunction-sections", "-fdata-sections")
FIXED = ("main.c", "main.h", "host.c", "board.c", "board.ld")
ARM = "arm-none-eabi-gcc"
QEMU = "qemu-system-arm"
PACKAGES = {
    "cc": "gcc",
    ARM: "gcc-arm-none-eabi and libnewlib-arm-none-eabi",
    QEMU: "qemu-system-arm",
}


@dataclass(frozen=True)
class Board:
    """An emulated board.

    Attributes:
        machine: QEMU's name of it.
        flags: The compiler's options for its processor.
        flash: The address of its flash.
        ram: The address of its RAM.
        external: The address of memory that stands for a storage of episodes.
        timer: The address of a timer.
        instructions: The instructions in a tick of that timer, with -icount shift=0.
    """

    machine: str
    flags: str
    flash: int
    ram: int
    external: int
    timer: int
    instructions: int


BOARDS = {
    "qemu-m4": Board(
        "mps2-an386", "-mcpu=cortex-m4 -mfpu=fpv4-sp-d16", 0, 0x20000000, 0x21000000, 0x40000000, instructions=40
    ),
    "qemu-m7": Board(
        "mps2-an500", "-mcpu=cortex-m7 -mfpu=fpv5-d16", 0, 0x20000000, 0x60000000, 0x40000000, instructions=40
    ),
    "qemu-m33": Board(
        "mps2-an505",
        "-mcpu=cortex-m33 -mfpu=fpv5-sp-d16",
        0x10000000,
        0x38000000,
        0x38200000,
        0x50000000,
        instructions=50,
    ),
}
HOST = "host"
TARGETS = (HOST, *BOARDS)
BOARD_RAM = 2 * 1024 * 1024  # bytes, where no budget is given


@dataclass(frozen=True)
class Emulation:
    """What a controller did on recorded episodes, and what it took.

    Attributes:
        status: What adapting returned: 0, or a negative status of the runtime.
        max_difference: The largest difference to Python in the change of any parameter.
        max_action_difference: The largest difference to Python in an action of the adapted policy.
        largest_change: The largest change of any parameter.
        robot_bytes: The robot's struct, as the compiler laid it out.
        planned_ram_bytes: The same, as it was planned.
        ram_bytes: .data, .bss and the stack at its highest; 0 where they are not measured.
        stack_bytes: The stack at its highest.
        flash_bytes: The code of controller and runtime, of the C library, and the tables; 0 where not measured.
        instructions: Instructions by call; empty where they are not counted.
    """

    status: int
    max_difference: float
    max_action_difference: float
    largest_change: float
    robot_bytes: int
    planned_ram_bytes: int
    ram_bytes: int
    stack_bytes: int
    flash_bytes: Mapping[str, int]
    instructions: Mapping[str, float]


def check_tools(target: str) -> None:
    """Raise Refusal with the packages to install if a target's compiler or emulator is missing."""
    missing = [tool for tool in (("cc",) if target == HOST else (ARM, QEMU)) if shutil.which(tool) is None]
    if missing:
        names = " and ".join(PACKAGES[tool] for tool in missing)
        raise Refusal(f"{target} needs {' and '.join(missing)}: install {names} (names of Debian packages)")


def emulate(
    made: Generated,
    episodes: Sequence[Episode],
    target: str = HOST,
    ram: int | None = None,
    optimize: Sequence[str] = ("-Os",),
) -> Emulation:
    """Build a controller's files, run them on recorded episodes, and compare with ``Controller.adapt``.

    Args:
        made: The controller on its way into C; it takes its first inner step.
        episodes: The recorded episodes, no more and no longer than it has room for.
        target: Where it runs: ``host``, or a key of ``BOARDS``.
        ram: The bytes of RAM that the board has; None: more than enough.
        optimize: The compiler's options beside the target's own.

    Raises:
        Refusal: If a tool is missing or the build fails, for example because the robot exceeds the RAM.
    """
    check_tools(target)
    controller = made.controller
    tensors = checked_episodes(episodes, controller.network)
    recorded = [
        Episode(
            observations=each["observations"].numpy(), actions=each["actions"].numpy(), rewards=each["rewards"].numpy()
        )
        for each in tensors
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, text in {**files(made), **_emulated(made, recorded)}.items():
            (folder / file).write_text(text, encoding="ascii")
        sizes = _build(folder, target, ram or BOARD_RAM, optimize)
        _run(folder, target)
        report = (folder / "report.bin").read_bytes()
    return _compared(made, recorded, report, sizes, BOARDS[target].instructions if target != HOST else 0)


def _emulated(made: Generated, episodes: Sequence[Episode]) -> dict[str, str]:
    """Return the files that run the controller, with the recorded episodes."""
    p, network = made.prefix, made.controller.network
    lengths = [len(table_of(each)) for each in episodes]
    table = np.concatenate([table_of(each) for each in episodes])
    header = f"""#include "{p}_controller.h"

#define ROBOT {p}_robot
#define CONTROLLER {p}_controller
#define OBSERVATIONS {network.observation_size}
#define ACTIONS {network.action_size}
#define STORAGE_BYTES {made.storage_bytes}u
#define CHANGE_BYTES {made.stored.get("", 0)}u
#define PACKED {int(made.packed_range is not None)}
#define SEED {SEED}u
#define RECORDED_EPISODES {len(lengths)}u
#define RECORDED_ROW {table.shape[1]}u

extern const uint32_t recorded_lengths[{len(lengths)}];
extern const float recorded_rows[{table.size}];
"""
    values = rows(", ".join(number(value) for value in row) for row in table.tolist())
    source = f"""#include "emulated.h"

const uint32_t recorded_lengths[{len(lengths)}] = {{{", ".join(map(str, lengths))}}};
const float recorded_rows[{table.size}] = {{
{values}}};
"""
    return {**shipped("emulation", FIXED), "emulated.h": header, "recorded.c": source}


def _build(folder: Path, target: str, ram: int, optimize: Sequence[str]) -> dict[str, int]:
    """Compile and link; return the sizes of a board's sections."""
    sources = [path.name for path in folder.glob("*.c") if path.name != ("board.c" if target == HOST else "host.c")]
    if target == HOST:
        _call(folder, ["cc", *FLAGS, *optimize, *sources, "-lm", "-o", "robot"])
        return {}
    board = BOARDS[target]
    script = (folder / "board.ld").read_text()
    for name, value in (("FLASH", board.flash), ("RAM", board.ram), ("EXTERNAL", board.external), ("RAM_BYTES", ram)):
        script = script.replace(f"@{name}@", hex(value))
    (folder / "board.ld").write_text(script)
    machine = [*board.flags.split(), "-mthumb", "-mfloat-abi=hard"]
    for source in sources:
        # The start of a board is no portable code: it reads registers and prints by semihosting.
        flags = FLAGS[len(WARNINGS) :] if source == "board.c" else FLAGS
        _call(folder, [ARM, *machine, *flags, *optimize, f"-DTIMER=0x{board.timer:x}u", "-c", source])
    objects = [f"{Path(source).stem}.o" for source in sources]
    link = ["-nostartfiles", "--specs=nano.specs", "-Wl,--gc-sections", "-Wl,-T,board.ld", "-Wl,--no-warn-rwx-segments"]
    _call(folder, [ARM, *machine, *link, *objects, "-lm", "-o", "robot"])
    listing = _call(folder, ["arm-none-eabi-size", "-A", "-d", "robot"])
    words = [line.split() for line in listing.splitlines()]
    return {line[0]: int(line[1]) for line in words if len(line) == 3 and line[0].startswith(".")}


def _run(folder: Path, target: str) -> None:
    command = ["./robot"]
    if target != HOST:
        command = [QEMU, "-M", BOARDS[target].machine, "-display", "none", "-serial", "null", "-monitor", "null"]
        command += ["-icount", "shift=0", "-semihosting-config", "enable=on,target=native", "-kernel", "robot"]
    _call(folder, command)


def _call(folder: Path, command: Sequence[str]) -> str:
    """Run a tool; raise Refusal with the end of what it said if it fails."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise Refusal(f"{command[0]} did not end within {SECONDS} s") from None
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise Refusal(f"{command[0]} failed: {' '.join(lines[-3:])}")
    return done.stdout


def _computed_with(controller: Controller) -> Parameters:
    """Return the parameters, vectors with what a context adds to them, which is where a robot keeps its change."""
    parameters = dict(controller.parameters)
    for layer in controller.network.layers:
        parameters |= layer.modulated(controller.parameters)
    return parameters


def _compared(
    made: Generated, episodes: Sequence[Episode], report: bytes, sizes: Mapping[str, int], instructions: int
) -> Emulation:
    """Return what a report says, compared with Python."""
    head = np.frombuffer(report, np.int32, 9)
    status, stack, offset, robot_bytes = (int(each) for each in head[:4])
    memory, storage = report[36 : 36 + robot_bytes], report[36 + robot_bytes :]
    buffers, offsets = made.program.plan.program.buffers, made.program.plan.offsets

    def buffer(name: str) -> NDArray[np.generic]:
        each = buffers[name]
        return np.frombuffer(memory, each.element, each.size, offset + offsets[name]).reshape(each.shape)

    controller: Controller = made.controller
    adapted = controller.adapt(as_recorded(made, episodes, SEED)) if status == 0 else controller
    changes = made.change_from(buffer, storage) if status == 0 else {}
    before, after = _computed_with(controller), _computed_with(adapted)
    expected = {name: (after[name] - before[name]).numpy() for name in changes}
    actions = np.frombuffer(storage, np.float32, offset=made.stored.get("", 0)).reshape(
        -1, controller.network.action_size
    )
    shown = np.asarray(episodes[0]["observations"], np.float32)[: len(actions)]
    observations = normalized(shown, made.normalization)
    ticks = dict(zip(("act", "reward", "predict_before", "predict_after", "adapt"), head[4:].tolist(), strict=True))
    calls = {name: count * instructions / (1 if name == "adapt" else TRIALS) for name, count in ticks.items()}
    return Emulation(
        status=status,
        max_difference=max((float(np.abs(changes[name] - expected[name]).max()) for name in changes), default=0.0),
        max_action_difference=float(np.abs(actions - adapted.predict(observations)[0]).max()),
        largest_change=max((float(np.abs(each).max()) for each in expected.values()), default=0.0),
        robot_bytes=robot_bytes,
        planned_ram_bytes=made.robot_bytes,
        ram_bytes=sizes[".data"] + sizes[".bss"] + stack if sizes else 0,
        stack_bytes=stack,
        flash_bytes={
            "code": sizes[".text"],
            "library": sizes[".libraries"] + sizes.get(".ARM.exidx", 0) + sizes[".data"],
            "tables": sizes[".tables"],
        }
        if sizes
        else {},
        instructions=calls if instructions else {},
    )
