"""What adapting takes on an emulated Cortex-M4, for the controllers that ship with metarl."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from metarl.core.randomness import Purpose, generator
from metarl.core.threads import available_threads
from metarl.envs.registry import get_family
from metarl.experiments.bench.measure import print_table
from metarl.policies.controller import Controller
from metarl.policies.device.episodes import Episode
from metarl.policies.export.c import COptions, generated
from metarl.policies.export.emulation import check_tools, emulate
from metarl.policies.export.robot_data import TASKS, RobotData, robot_data, with_room
from metarl.policies.files.pretrained import pretrained_files
from metarl.policies.loading import load_controller
from metarl.rl.adaptation import stack
from metarl.rl.evaluation import family_of, unseen_tasks
from metarl.rl.sampling import Sampler

FAMILY = "half-cheetah-velocity"
BOARD = "qemu-m4"
SEED = 1
KILO = 1024
# The controller's name, the RAM of the part in kB of 1024 bytes, and how episodes are recorded.
ROWS = (
    ("anil", 16, "raw"),
    ("p-meta", 32, "raw"),
    ("p-meta-layers", 64, "raw"),
    ("boil", 64, "raw"),
    ("maml", 64, "raw"),
    ("maml++", 64, "raw"),
    ("maml", 32, "raw"),
    ("p-meta-layers", 32, "raw"),
    ("p-meta", 32, "packed"),
    ("anil-gate-time", 32, "none"),
    ("cavia", 32, "none"),
)
STORED = {"raw": "", "packed": " packed", "none": " nothing stored"}


def run(threads: int | None = None) -> dict[str, Any]:
    """Emulate each row; ``threads`` belongs to the other benchmarks."""
    check_tools(BOARD)
    rows = []
    for method, ram, storage in ROWS:
        name = f"{FAMILY}/{method}"
        if name not in pretrained_files():
            continue
        controller = load_controller(name)
        data = simulated(controller)
        packed = data.observations if storage == "packed" else None
        room = with_room(data.channels, controller)
        options = COptions(ram * KILO, room, packed, streaming=storage == "none")
        made = generated(controller, options)
        ran = emulate(made, data.episodes, BOARD, ram * KILO)
        row = {"method": method, "part_bytes": ram * KILO, "storage": storage, "storage_bytes": made.storage_bytes}
        rows.append(row | {"passes": max(len(made.sizes.windows), 1)} | asdict(ran))
    return {"family": FAMILY, "board": BOARD, "rows": rows}


def simulated(controller: Controller) -> RobotData:
    """Return what a few simulated robots recorded, on tasks that no training has seen."""
    family = family_of(controller, get_family(FAMILY))
    tasks, random = unseen_tasks(family, TASKS, SEED), generator(SEED, Purpose.ADAPTATION)
    scale, episodes = controller.metadata.action_scale, controller.metadata.episodes_per_step
    with Sampler(family, controller.network, scale, available_threads()) as sampler:

        def record(adapted: Sequence[Controller]) -> list[list[Episode]]:
            sampled = sampler.sample(stack([each.parameters for each in adapted]), tasks, episodes, random)
            return [sampled.recorded(task) for task in range(TASKS)]

        return robot_data(controller, record)


def show(result: dict[str, Any]) -> None:
    """Print a row per controller."""
    rows = result["rows"]
    sizes = ("passes", "ram_bytes", "planned_ram_bytes", "robot_bytes")
    print_table(
        f"Adapting {result['family']} on {result['board']}: bytes, and millions of instructions",
        ["", "passes", "RAM", "planned", "robot", "code", "adapt"],
        [
            [
                f"{row['method']} {row['part_bytes'] // KILO}K" + STORED[row["storage"]],
                *(f"{row[name]:,}" for name in sizes),
                f"{row['flash_bytes']['code']:,}",
                f"{row['instructions']['adapt'] / 1e6:,.1f}",
            ]
            for row in rows
        ],
        "RAM: .data, .bss and the stack at its highest; the robot's struct is in it. Compiled with -Os.",
        f"largest difference to Python: {max(row['max_difference'] for row in rows):.1e} in a parameter",
    )
