"""The generated files of a controller in C: its header with the robot's memory, its tables, and its program."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from metarl.core.text import plural
from metarl.policies.attention import PREFIX
from metarl.policies.controller import Controller
from metarl.policies.device.in_place import FloatArray
from metarl.policies.device.kernels import Module
from metarl.policies.device.network import DeviceLayer
from metarl.policies.device.program import Buffer
from metarl.policies.device.runner import constants
from metarl.policies.device.stream_program import FEATURES
from metarl.policies.device.workload import Estimator
from metarl.policies.export.c_program import Printer
from metarl.policies.export.c_pruned import kept_tables, kept_values
from metarl.policies.export.c_text import TYPES, double, filled, identifier, number, rows, safe, table
from metarl.policies.export.robot_program import ACT, LENGTHS, ROW, RobotProgram, Sizes
from metarl.policies.gate import GATE, GATE_STATISTICS

STATE_BYTES = 56  # of a robot beside its arena, with pointers of 4 bytes


@dataclass(frozen=True)
class Generated:
    """A controller on its way into C.

    Attributes:
        controller: The controller; it takes normalized observations if there is a normalization.
        normalization: The mean and the deviation [observation] that normalize observations; None: they are not.
        prefix: What its names in C begin with.
        checksum: Tells this controller from others when a change is restored.
        layers: The network's layers.
        sizes: What the robot has room for.
        program: The robot's program.
        estimator: How the advantages are computed from the rewards.
        packed_range: The lowest and the highest observation [observation] of packed recordings; None: raw recordings.
        stored: Where the change of each parameter lies in the storage, and its end by ""; empty: in the robot.
    """

    controller: Controller
    normalization: tuple[FloatArray, FloatArray] | None
    prefix: str
    checksum: int
    layers: tuple[DeviceLayer, ...]
    sizes: Sizes
    program: RobotProgram
    estimator: Estimator
    packed_range: tuple[FloatArray, FloatArray] | None
    stored: Mapping[str, int]

    @property
    def robot_bytes(self) -> int:
        """The RAM of a robot, with pointers of 4 bytes."""
        return STATE_BYTES + self.arena_bytes

    @property
    def arena_bytes(self) -> int:
        """The bytes of the robot's arena, whose elements of 8 bytes are aligned."""
        return -(-self.program.plan.bytes // 8) * 8

    @property
    def row_bytes(self) -> int:
        """The bytes of a recorded time step."""
        network = self.controller.network
        if self.packed_range is not None:
            return network.observation_size + 4
        return 4 * (network.observation_size + network.action_size + 1)

    @property
    def recordings_bytes(self) -> int:
        """The bytes of the recorded episodes of an inner step; 0 if nothing is stored, or a policy acts alone."""
        if self.sizes.streaming:
            return 0
        return bool(self.program.steps) * self.sizes.episodes * self.sizes.work.episode * self.row_bytes

    @property
    def storage_bytes(self) -> int:
        """The storage that a robot needs: the recorded episodes, and the change if that does not lie in the robot."""
        return self.stored.get("", 0) + self.recordings_bytes

    @cached_property
    def modules(self) -> dict[str, Module]:
        """The attention modules that an inner step asks, by their names."""
        known = constants(self.layers, self.controller.parameters) if self.program.steps else {}
        return {name: module for name, module in known.items() if name.startswith(PREFIX)}

    @property
    def tables_bytes(self) -> int:
        """The bytes of the constant tables of weights and attention."""
        parameters = sum(array.nbytes for array in self._parameters().values())
        return parameters + sum(array.nbytes for module in self.modules.values() for array in module[:-1])

    def change_from(self, buffer: Callable[[str], NDArray[Any]], storage: bytes) -> dict[str, FloatArray]:
        """Return the change of each parameter, in the parameter's shape, from a robot's memory and its storage.

        Args:
            buffer: Returns a buffer of the robot by its name.
            storage: What the storage holds.
        """
        changes = {}
        for layer in self.layers:
            for name, shape in layer.changed.items():
                change = np.zeros(shape[::-1], np.float32)
                kept = np.ones(change.shape, np.bool_)
                if layer.kept is not None and name == f"{layer.name}.weight":
                    kept = layer.kept.T
                changed = np.ones_like(kept) if self._has_whole_inputs(layer) else kept
                if name in self.stored:
                    change[changed] = np.frombuffer(storage, np.float32, int(changed.sum()), self.stored[name])
                elif name in self.program.places:
                    places = buffer(self.program.places[name])
                    change[places >= 0] = buffer(self.program.changes[name])[places[places >= 0]]
                elif name in self.program.changes:
                    change[changed] = buffer(self.program.changes[name]).reshape(-1)
                changes[name] = np.where(kept, change, np.float32(0)).T
        return changes

    def header(self) -> str:
        """Return the header: sizes, the robot, and its calls."""
        network, buffers = self.controller.network, self.program.plan.program.buffers
        return filled(
            "controller.h",
            prefix=self.prefix,
            PREFIX=self.prefix.upper(),
            facts="\n".join(f"   {line}" for line in self.facts()),
            observations=network.observation_size,
            actions=network.action_size,
            horizon=self.sizes.work.episode,
            episodes=self.sizes.episodes,
            storage_bytes=self.storage_bytes,
            arena_bytes=self.arena_bytes,
            buffers="\n".join(
                f"        {self._place(buffer)}" for buffer in sorted(buffers.values(), key=self._offset)
            ),
        )

    def facts(self) -> list[str]:
        """Return what the header says of the controller."""
        metadata, work = self.controller.metadata, self.sizes.work
        kept = ", ".join(f"{count} of {layer}" for layer, (_, count) in work.kept.items())
        passes = f"{len(self.sizes.windows)} passes" if self.sizes.windows else "one pass"
        steps = plural(len(self.program.steps), "inner step")
        if not self.sizes.streaming:
            steps += f" of {passes} over the episodes"
        return [
            f"family      {safe(metadata.family)}",
            f"method      {safe(metadata.method)}, {steps if self.program.steps else 'the policy alone'}",
            f"checksum    {self.checksum:08x}",
            f"RAM         {self.robot_bytes} bytes: {self.arena_bytes} as planned below and {STATE_BYTES} of state, "
            "with pointers of 4 bytes",
            f"storage     {self._storage_fact()}",
            f"tables      {self.tables_bytes} bytes of weights and attention",
            *([f"channels    room for those that attention keeps: {kept}"] if kept else []),
        ]

    def _storage_fact(self) -> str:
        work = self.sizes.work
        if self.sizes.streaming:
            return f"none: of {self.sizes.episodes} episodes of {work.episode} steps, sums are kept alone"
        change = f", behind {self.stored['']} bytes of the change" if self.stored else ""
        recorded = f"{self.sizes.episodes} episodes of {work.episode} steps of {self.row_bytes} bytes"
        return f"{self.storage_bytes} bytes: {recorded}{change}"

    def source(self) -> str:
        """Return the program: the functions of the stages, and the controller."""
        printer = Printer(self.prefix, self.program, self.layers, list(self.modules), self.stored)
        spans = self._spans(printer)
        return filled(
            "controller.c",
            prefix=self.prefix,
            layer_count=len(self.layers),
            layers=rows(self._layer(printer, layer) for layer in self.layers),
            modules=self._module_table(),
            stages=printer.stages(),
            programs=printer.programs(),
            change_count=max(len(spans), 1),
            changes=rows(spans or ["{0, 0}"]),
            controller=rows(self._controller(printer, len(spans))),
        )

    def tables(self) -> tuple[str, str]:
        """Return the header and the definitions of the constant tables."""
        p, arrays = self.prefix, self._arrays()
        declarations = "\n".join(
            f"extern const {TYPES[array.dtype.name]} {p}_{name}[{array.size}];" for name, array in arrays.items()
        )
        definitions = "\n".join(table(f"{p}_{name}", array) for name, array in arrays.items())
        header = filled("tables.h", PREFIX=p.upper(), declarations=declarations)
        return header, filled("tables.c", prefix=p, definitions=definitions)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        metadata, parameters = self.controller.metadata, self.controller.parameters
        arrays = {identifier(name): array for name, array in self._parameters().items()}
        arrays |= {
            "action_low": np.array(metadata.action_low, np.float32),
            "action_high": np.array(metadata.action_high, np.float32),
        }
        if self.normalization is not None:
            arrays |= dict(zip(("observation_mean", "observation_std"), self.normalization, strict=True))
        if self.packed_range is not None:
            low, high = self.packed_range
            arrays |= {"observation_low": low, "observation_step": (high - low) / np.float32(255)}
        if GATE in parameters:
            gate = parameters[GATE].detach().reshape(-1), parameters[GATE_STATISTICS].detach()
            arrays["gate"] = torch.cat(gate).numpy()
        for name, module in self.modules.items():
            arrays |= {identifier(f"{name}.{part}"): getattr(module, part) for part in Module._fields[:-1]}
        return arrays

    def _parameters(self) -> dict[str, NDArray[Any]]:
        """Return the parameters that stand in tables: vectors with what a context adds, and its matrix if it adapts.

        Of a pruned weight they are the kept numbers, and the tables that say which these are.
        """
        arrays: dict[str, NDArray[Any]] = {}
        for layer in self.layers:
            modulated = layer.stated.modulated(self.controller.parameters)
            for name in layer.stated.parameter_shapes:
                if name == layer.stated.context_name or (
                    name == layer.stated.context_weight_name and not self.program.steps
                ):
                    continue
                arrays[name] = modulated.get(name, self.controller.parameters[name]).detach().numpy()
            weight = f"{layer.name}.weight"
            arrays |= {weight: kept_values(layer, arrays[weight]), **kept_tables(layer)}
        return arrays

    def _offset(self, buffer: Buffer) -> int:
        return self.program.plan.offsets[buffer.name]

    def _place(self, buffer: Buffer) -> str:
        offset = self._offset(buffer)
        before = f"unsigned char before[{offset}]; " if offset else ""
        return f"struct {{ {before}{TYPES[buffer.element]} at[{max(buffer.size, 1)}]; }} {identifier(buffer.name)};"

    def _layer(self, printer: Printer, layer: DeviceLayer) -> str:
        weight, bias = f"{layer.name}.weight", f"{layer.name}.bias"
        products = f"metarl_{'dense' if layer.kept is None else 'pruned'}"
        backward = f"{products}_backward" if layer.name in self._passing_back() else "0"
        tables = f"{self.prefix}_{identifier(weight)}, {self.prefix}_{identifier(bias)}"
        changes = ", ".join(self._change(printer, name) for name in (weight, bias))
        places = self.program.places.get(weight)
        last = printer.offset(places) if places else "METARL_NONE"
        kept = ", ".join(f"{self.prefix}_{identifier(name)}" for name in kept_tables(layer)) or "0, 0"
        sizes = f"{layer.stated.inputs}, {layer.stated.outputs}"
        whole = int(self._has_whole_inputs(layer))
        activation = f"metarl_{'tanh' if layer.stated.activation == 'tanh' else 'relu'}"
        return (
            f"{{{products}_forward, {backward}, {tables}, {sizes}, {changes}, {last}, {kept}, {whole}, {activation}}}"
        )

    def _passing_back(self) -> set[str]:
        """Return the names of the layers through which a gradient passes back."""
        operations = (each for stage in self.program.plan.program.stages() for each in stage.operations)
        return {str(each.operands[0]) for each in operations if each.kernel.startswith("input_gradient")}

    def _has_whole_inputs(self, layer: DeviceLayer) -> bool:
        """Return whether the change of a layer has numbers for pruned weights, too: attention chooses whole inputs."""
        return f"{layer.name}.weight" in self.program.places or (bool(self.stored) and layer.chooses_inputs)

    def _change(self, printer: Printer, parameter: str) -> str:
        if self.stored:
            return str(self.stored.get(parameter, "METARL_NONE"))
        change = self.program.changes.get(parameter)
        return printer.offset(change) if change else "METARL_NONE"

    def _module_table(self) -> str:
        if not self.modules:
            return ""
        entries = (
            "{"
            + ", ".join(f"{self.prefix}_{identifier(f'{name}.{part}')}" for part in Module._fields[:-1])
            + f", {number(0.0 if module.bound is None else float(module.bound))}"
            + f", {len(module.bias)}, {len(module.hidden_bias)}}}"
            for name, module in self.modules.items()
        )
        name = f"{self.prefix}_modules[{len(self.modules)}]"
        return f"static const metarl_module {name} = {{\n{rows(entries)}}};\n\n"

    def _spans(self, printer: Printer) -> list[str]:
        if self.stored:
            return [f"{{0, {self.stored['']}}}"]
        buffers = self.program.plan.program.buffers
        names = [*self.program.changes.values(), *self.program.places.values()]
        return [f"{{{printer.offset(name)}, {buffers[name].bytes}}}" for name in names]

    def _controller(self, printer: Printer, changes: int) -> list[str]:
        p, metadata, network = self.prefix, self.controller.metadata, self.controller.network
        log_std = f"{self.layers[-1].name}.log_std"
        packed = [f"{p}_observation_low", f"{p}_observation_step"] if self.packed_range else ["0", "0"]
        statistics = [f"{p}_observation_mean", f"{p}_observation_std"] if self.normalization else ["0", "0"]
        return [
            f"0x{self.checksum:08x}u",
            str(network.observation_size),
            str(network.action_size),
            str(0 if self.estimator.features == "time" else network.observation_size),
            str(len(self.layers)),
            str(len(self.program.steps)),
            str(self.sizes.episodes),
            str(self.sizes.work.episode),
            f"{p}_layers",
            f"{p}_{identifier(log_std)}",
            self._change(printer, log_std),
            f"{p}_action_low",
            f"{p}_action_high",
            number(metadata.action_scale),
            *statistics,
            *packed,
            f"{p}_gate" if GATE in self.controller.parameters else "0",
            f"{p}_programs" if self.program.steps else "0",
            f"{p}_changes",
            str(changes),
            printer.offset(ACT),
            printer.offset(FEATURES if self.sizes.streaming else "equations.features"),
            printer.offset(LENGTHS),
            printer.offset(ROW) if self.sizes.streaming else "METARL_NONE",
            str(self.stored.get("", 0)),
            str(int(bool(self.stored))),
            double(metadata.discount),
        ]


def stored_offsets(layers: Sequence[DeviceLayer]) -> dict[str, int]:
    """Return where the change of each parameter that a step updates lies in the storage, and its end by ""."""
    offsets, end = {}, 0
    for layer in layers:
        for name, shape in layer.changed.items() if layer.updated else ():
            offsets[name] = end
            end += 4 * (layer.changing() if name == f"{layer.name}.weight" else math.prod(shape))
    return offsets | {"": end}
