"""The NumPy runner: executes a device program in the one arena that its plan describes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metarl.policies.attention import ATTENTION_BOUND, PREFIX
from metarl.policies.device.kernels import KERNELS, Module
from metarl.policies.device.meter import Meter
from metarl.policies.device.network import DeviceLayer
from metarl.policies.device.planner import plan
from metarl.policies.device.program import Operand, Phase, Program, Stage
from metarl.policies.device.run import Run
from metarl.policies.networks.network import Parameters

Kept = Mapping[str, tuple[int, int]]  # channels by layer: those that attention keeps of an episode, and of all of them
Call = Callable[[], None]


class Runner:
    """Runs a program on recorded episodes.

    How many channels attention keeps is known when it has seen the episodes. Where they are more than the program has
    room for, it is made anew and the arena grows in place.
    """

    def __init__(self, program_for: Callable[[Kept], Program], constants: Mapping[str, Any], run: Run, meter: Meter):
        """Plan the program and allocate its arena.

        Args:
            program_for: Makes the program with room for the channels kept.
            constants: What its operations name beside buffers: layers, attention modules, the log standard deviation.
            run: The recorded episodes, and the parameters to change.
            meter: Measures the arena.
        """
        self.program_for, self.constants, self.state, self.meter = program_for, constants, run, meter
        self.kept: Kept = {}
        self.plan = plan(program_for(self.kept))
        self.arena: NDArray[np.uint8] = meter.count(np.empty(self.plan.bytes, np.uint8))
        self._calls: dict[tuple[str, int | None], list[Call]] = {}

    def run(self) -> None:
        """Run the program."""
        for phase in self.plan.program.phases:
            self.run_phase(phase)

    def run_phase(self, phase: Phase) -> None:
        """Run a phase: once, or for each episode."""
        for episode in range(len(self.state.storage["observations"]) if phase.every_episode else 1):
            self.run_stages(phase, episode)

    def run_stages(self, phase: Phase, episode: int) -> None:
        """Run the stages of a phase for one episode."""
        self.state.episode = episode
        steps = len(self.state.column("observations"))
        for stage in phase.stages:
            for start in range(0, steps, stage.rows or steps):
                self.state.start, self.state.stop = start, min(start + (stage.rows or steps), steps)
                self._run_stage(stage)

    def run_stage(self, name: str, rows: int | None) -> None:
        """Run the stage of that name once, on the ``rows`` time steps in work if it works on blocks of them."""
        stage = next(stage for stage in self.plan.program.stages() if stage.name == name)
        for call in self._bound(stage, rows):
            call()

    def view(self, name: str, rows: int | None = None) -> NDArray[Any]:
        """Return a buffer in the arena; of one with a block of time steps, the first ``rows``.

        A view must not be used when the arena has grown.
        """
        buffer, offset = self.plan.program.buffers[name], self.plan.offsets[name]
        array = self.arena[offset : offset + buffer.bytes].view(buffer.element).reshape(buffer.shape)
        return array[:rows] if buffer.by_row else array

    def _run_stage(self, stage: Stage) -> None:
        rows = None if stage.rows is None else self.state.stop - self.state.start
        calls = self._bound(stage, rows)
        for index in range(len(calls)):
            calls[index]()
            if self.state.kept != self.kept:
                del calls
                self._make_room()
                calls = self._bound(stage, rows)

    def _bound(self, stage: Stage, rows: int | None) -> list[Call]:
        """Return the kernel calls of a stage, bound to views of the arena."""
        if (stage.name, rows) not in self._calls:
            self._calls[stage.name, rows] = [
                partial(
                    KERNELS[operation.kernel],
                    self.state,
                    *(self._operand(operand, rows) for operand in operation.operands),
                )
                for operation in stage.operations
            ]
        return self._calls[stage.name, rows]

    def _operand(self, operand: Operand, rows: int | None) -> Any:
        if not isinstance(operand, str):
            return operand
        return self.view(operand, rows) if operand in self.plan.offsets else self.constants.get(operand, operand)

    def _make_room(self) -> None:
        """Plan anew for the channels that are kept by now, and move what stands at the arena's end."""
        self._calls.clear()  # their views are about to lose their memory
        offsets, buffers = self.plan.offsets, self.plan.program.buffers
        growing = [(offsets[name], buffer.bytes, name) for name, buffer in buffers.items() if buffer.grows]
        self.kept = dict(self.state.kept)
        self.plan = plan(self.program_for(self.kept))
        self.meter.resize(self.arena, self.plan.bytes)
        memory = memoryview(self.arena.data)  # assigns correctly also where source and target overlap
        for old, size, name in sorted(growing, reverse=True):
            new = self.plan.offsets[name]
            memory[new : new + size] = memory[old : old + size]
            self.arena[new + size : new + self.plan.program.buffers[name].bytes] = 0


def constants(layers: Sequence[DeviceLayer], parameters: Parameters) -> dict[str, Any]:
    """Return what the operations of a program name beside buffers."""
    arrays = {name: tensor.detach().numpy() for name, tensor in parameters.items()}
    modules = {
        name: Module(
            arrays[f"{name}.fc1.weight"],
            arrays[f"{name}.fc1.bias"],
            arrays[f"{name}.fc2.weight"],
            arrays[f"{name}.fc2.bias"],
            arrays.get(ATTENTION_BOUND),
        )
        for name in (f"{PREFIX}{layer.name}.{side}" for layer in layers for side in layer.clips)
    }
    log_std = f"{layers[-1].name}.log_std"
    deviations = {"log_std": arrays[log_std]} if log_std in arrays else {}
    return {layer.name: layer for layer in layers} | modules | deviations
