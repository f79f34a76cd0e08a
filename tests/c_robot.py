"""A controller in C, compiled for this machine and driven through ctypes."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metarl.policies.controller import Controller
from metarl.policies.device.episodes import Episode
from metarl.policies.export.c import COptions, write_c
from metarl.policies.export.c_files import Generated
from metarl.policies.export.emulation import WARNINGS

COMPILER = shutil.which("cc")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler: install gcc or clang")
OK, MORE = 0, 1
NOT_FINITE, ORDER, FULL, EMPTY, CAPACITY, STORAGE, CORRUPT = range(-1, -8, -1)

Read = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint32)


class Storage(ctypes.Structure):
    """The struct metarl_storage on a bytearray, which fails from the call number ``fails`` on."""

    _fields_ = [
        ("user", ctypes.c_void_p),
        ("bytes", ctypes.c_uint32),
        ("read", Read),
        ("write", Read),
        ("memory", ctypes.c_void_p),
    ]

    def __init__(self, size: int) -> None:
        self.data = (ctypes.c_ubyte * max(size, 1))()
        self.fails: int | None = None
        address = ctypes.addressof(self.data)

        def copy(target: int, source: int, count: int) -> int:
            if self.fails is not None:
                self.fails -= 1
                if self.fails < 0:
                    return 1
            ctypes.memmove(target, source, count)
            return 0

        super().__init__(
            None,
            size,
            Read(lambda user, offset, data, count: copy(data, address + offset, count)),
            Read(lambda user, offset, data, count: copy(address + offset, data, count)),
            address,
        )


class Robot:
    """A robot with its storage."""

    def __init__(self, library: Any, made: Generated, seed: int = 0, storage: int | None = None) -> None:
        self.library, self.made = library, made
        self.storage = Storage(made.storage_bytes if storage is None else storage)
        self.memory = (ctypes.c_ubyte * library.robot_bytes())()
        self.controller = ctypes.addressof(ctypes.c_ubyte.in_dll(library, f"{made.prefix}_controller"))
        library.metarl_start(self.memory, ctypes.c_void_p(self.controller), ctypes.byref(self.storage), seed)

    def call(self, name: str, *arguments: Any) -> int:
        status: int = getattr(self.library, f"metarl_{name}")(self.memory, *arguments)
        return status

    def predict(self, observation: Any, name: str = "predict") -> np.ndarray:
        action = np.zeros(self.made.controller.network.action_size, np.float32)
        assert self.call(name, floats(observation), floats(action)) == OK
        return action

    def record(self, episodes: Sequence[Episode]) -> None:
        for episode in episodes:
            for observation, action, reward in zip(*(episode[part] for part in PARTS), strict=True):
                assert self.call("record", floats(observation), floats(action)) == OK
                assert self.call("reward", ctypes.c_float(reward)) == OK
            assert self.call("end_episode") == OK

    def buffer(self, name: str) -> np.ndarray:
        plan = self.made.program.plan
        buffer, offset = plan.program.buffers[name], self.library.arena_offset() + plan.offsets[name]
        data = np.frombuffer(self.memory, np.uint8)[offset : offset + buffer.bytes]
        return data.view(buffer.element).reshape(buffer.shape).copy()

    def change(self) -> dict[str, np.ndarray]:
        """The change of every parameter as it is added to it, weights as [output, input]."""
        return self.made.change_from(self.buffer, bytes(self.storage.data))


PARTS = ("observations", "actions", "rewards")


def floats(array: Any) -> Any:
    return (
        np.ascontiguousarray(array, np.float32).ctypes.data_as(ctypes.c_void_p)
        if not isinstance(array, np.ndarray) or array.dtype != np.float32 or not array.flags.c_contiguous
        else array.ctypes.data_as(ctypes.c_void_p)
    )


def compiled(
    controller: Controller, folder: Path, options: COptions | None = None, flags: Sequence[str] = ("-O1",)
) -> tuple[Any, Generated]:
    """The library of a controller, and what it was made of."""
    made = write_c(controller, folder / "c", options)
    header = f'#include "{made.prefix}_controller.h"\n#include <stddef.h>\n'
    sizes = {"robot_bytes": f"sizeof({made.prefix}_robot)", "arena_offset": f"offsetof({made.prefix}_robot, arena)"}
    functions = "".join(
        f"uint32_t {name}(void);\nuint32_t {name}(void) {{ return {size}; }}\n" for name, size in sizes.items()
    )
    (folder / "sizes.c").write_text(header + functions)
    sources = [*(each for each in (folder / "c").glob("*.c") if each.name != "selftest_main.c"), folder / "sizes.c"]
    command = [str(COMPILER), *WARNINGS, *flags, "-shared", "-fPIC", f"-I{folder / 'c'}", *map(str, sources), "-lm"]
    subprocess.run([*command, "-o", str(folder / "robot.so")], check=True)
    return ctypes.CDLL(str(folder / "robot.so")), made
