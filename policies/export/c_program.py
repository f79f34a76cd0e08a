"""A robot's program as C: a function per stage that calls the kernels of the runtime, and the tables of the stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from metarl.policies.device.network import DeviceLayer
from metarl.policies.device.program import Operand, Operation, Stage
from metarl.policies.export.c_text import double, identifier, number, rows
from metarl.policies.export.robot_program import ACT, REBUILT, RobotProgram
from metarl.policies.networks.layers import CONTEXT_WEIGHT

# The call of each operation's kernel. {0} is the first operand: the address of a buffer, layer or attention module, or
# a number. {0:size} is the number of a buffer's elements, {0:width} and {0:rows} are those of its last and first axis.
# {0:context} is the matrix of a layer's context. A call after "TRY" returns a status.
CALLS = {
    "fill": "memset({0}, {1:byte}, sizeof {0})",
    "add_normal_equations": "TRY metarl_add_normal_equations(base, {0})",
    "solve": "metarl_solve(base, {0}, {1})",
    "add_statistics": "TRY metarl_add_statistics(base, {0}, {1}, {2}, {3}, {5:double})",
    "find_scale": "TRY metarl_find_scale(base, {0}, {1})",
    "normalized_advantages": "TRY metarl_normalized_advantages(base, {0}, {1}, {2}, {3}, {5:double})",
    "inverse_deviations": "metarl_inverse_deviations(base, {1})",
    "load": "TRY metarl_load(base, {0})",
    "linear": "metarl_linear(base, {0}, {1}, {2})",
    "linear_in_place": "metarl_linear_in_place(base, {0}, {1}, {2}, {3}, {3:size})",
    "rectify": "metarl_rectify(base, {0}, {1}, {0:width})",
    "squash": "metarl_squash(base, {0}, {0:width})",
    "keep": "metarl_keep(base, {0}, {1}, {2}, {0:width}, {3}, {4})",
    "standardize": "TRY metarl_standardize(base, {0}, {1})",
    "add_log_std_gradient": "metarl_add_log_std_gradient(base, {0}, {1}, {2})",
    "output_gradient": "metarl_output_gradient(base, {0}, {1}, {2})",
    "input_gradient": "metarl_input_gradient(base, {0}, {1}, {2})",
    "input_gradient_in_place": "metarl_input_gradient_in_place(base, {0}, {1}, {2}, {3}, {3:size})",
    "input_gradient_tanh": "metarl_input_gradient_tanh(base, {0}, {1}, {2}, {3}, {3:size})",
    "block": "metarl_block(base, {0}, {1}, {0:width})",
    "add_rows": "metarl_add_rows(base, {0}, {1}, {0:width})",
    "score": "metarl_score(base, {0}, {1}, {2}, {3})",
    "open_channels": "TRY metarl_open_channels({1}, {2}, {2:size}, {2:capacity})",
    "add_bias_gradient": "metarl_add_bias_gradient(base, {0}, {1}, {2}, {0:width})",
    "add_weight_gradient": (
        "metarl_add_weight_gradient(base, {0}, {1}, {2}, {3}, {0:width}, {1:width}, {5}, {3:rows})"
    ),
    "add_masked_gradient": "metarl_add_masked_gradient(base, {0}, {1}, {2}, {3}, {4}, {6}, {7})",
    "add_kept_gradient": "metarl_add_kept_gradient(base, {0}, {1}, {2}, {3}, {4}, {5}, {1:width}, {7}, {8})",
    "leave": "metarl_leave(base, {0}, {1}, {1:size}, {3:double})",
    "hold": "TRY metarl_hold(base, {0}, {1}, {1:size})",
    "add_moments": "metarl_add_moments(base, {0}, {1}, {2}, {0:size}, {4:double})",
    "add_eligible": "metarl_add_eligible(base, {0}, {1}, {0:width}, {1:size}, {3:double})",
    "begin_rewards": "metarl_begin_rewards({0})",
    "add_reward": "TRY metarl_add_reward(base, {0}, {1})",
    "mix": "TRY metarl_mix(base, {0}, {1}, {2}, {3}, {4}, {4:size})",
    "combine": "metarl_combine({0}, {1}, {0:width}, {1:size})",
    "add_context_gradient": "metarl_add_context_gradient({1}, {1:size}, {0:context}, {2}, {2:size})",
    "update_streamed_context": (
        "TRY metarl_update_streamed_context(base, {1}, {1:size}, {0:context}, {2}, {2:size}, {3})"
    ),
    "update_context": "TRY metarl_update_context(base, {1}, {1:size}, {0:context}, {2}, {2:size}, {3})",
    "update": "TRY metarl_update(base, {1}, {1:size}, {2})",
    "update_weight": "TRY metarl_update(base, {1}, {1:size}, {3})",
    "update_masked_weight": "TRY metarl_update(base, {1}, {1:size}, {2})",
    "check_room": "TRY metarl_check_room({0}, {1}, {0:size}, {2:rows})",
    "merge": "metarl_merge({0}, {1}, {0:size})",
    "merge_rows": "metarl_merge_rows({0}, {1}, {2}, {3}, {1:size}, {0:width})",
}
BY_RUNTIME = (ACT, "look", "add_step")
# Where the change lies in the storage, it is written there as soon as it is known.
STORE = "TRY metarl_store_change(base, {0}, {0:size}, {1})"


@dataclass(frozen=True)
class Argument:
    """An operand as it stands in a call, by the format that ``CALLS`` asks for."""

    printer: Printer
    operand: Operand

    def __format__(self, form: str) -> str:
        """Return the C text of the operand."""
        operand, buffers = self.operand, self.printer.program.plan.program.buffers
        if isinstance(operand, str):
            if form == "capacity":
                return str(buffers[operand.replace(".places", ".weight.sum")].shape[0])
            if form == "context":
                return f"{self.printer.prefix}_{identifier(operand)}_{CONTEXT_WEIGHT}"
            if form:
                buffer = buffers[operand]
                return str({"size": buffer.size, "width": buffer.shape[-1], "rows": buffer.shape[0]}[form])
            return self.printer.address(operand)
        if operand is None:
            return "0"
        if form == "byte":
            return "0" if operand == 0 else "0xff"  # -1 in every place
        return double(operand) if form == "double" else str(operand) if isinstance(operand, int) else number(operand)


@dataclass(frozen=True)
class Printer:
    """Prints the operations of a robot's program.

    Attributes:
        prefix: What the controller's names begin with.
        program: The robot's program.
        layers: The network's layers.
        modules: The names of the attention modules, in the order of their table.
        stored: Where the change of each parameter lies in the storage; empty where it lies in the robot.
    """

    prefix: str
    program: RobotProgram
    layers: Sequence[DeviceLayer]
    modules: Sequence[str]
    stored: Mapping[str, int]

    def stages(self) -> str:
        """Return the functions of all stages, and a table of the stages of each inner step."""
        functions: dict[str, str] = {}
        tables = []
        for step, phases in enumerate(self.program.steps, start=1):
            entries: list[str] = []
            for phase in phases:
                first = len(entries)
                for stage in phase.stages:
                    functions[stage.name] = self.function(stage)
                    last, every = int(stage is phase.stages[-1]), int(phase.every_episode)
                    entries.append(f"{{{self.name(stage)}, {stage.rows or 0}, {first}, {last}, {every}}}")
            if entries:
                name = f"{self.prefix}_stages{step}"
                tables.append(f"static const metarl_stage {name}[{len(entries)}] = {{\n{rows(entries)}}};\n")
        return "\n".join([*functions.values(), *tables])

    def programs(self) -> str:
        """Return the table of the inner steps: their stages, where to begin, and the places of the normal equations."""
        entries = []
        for step, phases in enumerate(self.program.steps, start=1):
            prefix = f"step{step}." if len(self.program.steps) > 1 else ""
            counts = [len(phase.stages) for phase in phases]
            places = ", ".join(self.offset(f"{prefix}{each}") for each in ("trace", "gram", "target"))
            stages = f"{self.prefix}_stages{step}" if phases else "0"
            entries.append(f"{{{stages}, {sum(counts)}, {sum(counts[:REBUILT])}, {places}}}")
        if not entries:
            return ""
        return f"static const metarl_program {self.prefix}_programs[{len(entries)}] = {{\n{rows(entries)}}};\n"

    def function(self, stage: Stage) -> str:
        """Return the function of a stage."""
        calls = [call for operation in stage.operations for call in self.calls(operation)]
        statements = [f"TRY({call[4:]});" if call.startswith("TRY ") else f"{call};" for call in calls]
        status = ["metarl_status status;"] * any(call.startswith("TRY ") for call in calls)
        arena = f"{self.prefix}_robot *const robot = ({self.prefix}_robot *)(void *)base;"
        lines = "\n".join(f"    {line}" for line in (arena, *status, *statements, "return METARL_OK;"))
        return f"static metarl_status {self.name(stage)}(metarl_robot *base)\n{{\n{lines}\n}}\n"

    def calls(self, operation: Operation) -> list[str]:
        """Return the calls that an operation takes: none for what the runtime does while it records and acts."""
        if operation.kernel in BY_RUNTIME:
            return []
        arguments = [Argument(self, operand) for operand in operation.operands]
        calls = [CALLS[operation.kernel].format(*arguments)]
        if self.stored and operation.kernel in ("update", "update_weight", "update_masked_weight"):
            calls.append(STORE.format(arguments[1], Argument(self, self.storage_offset(operation))))
        return calls

    def storage_offset(self, update: Operation) -> int:
        """Return where the change that an operation makes of accumulators lies in the storage."""
        name, *_ = update.operands
        if update.kernel == "update":
            return self.stored[str(name)]
        first = update.operands[4 if update.kernel == "update_weight" else 3]
        layer = next(layer for layer in self.layers if layer.name == str(name).removesuffix(".weight"))
        return self.stored[f"{layer.name}.weight"] + 4 * layer.changing(0, int(first or 0))

    def address(self, name: str) -> str:
        """Return the address of a buffer, a layer or an attention module."""
        if name in self.program.plan.offsets:
            return f"AT({identifier(name)})"
        if name in self.modules:
            return f"&{self.prefix}_modules[{self.modules.index(name)}]"
        return f"&{self.prefix}_layers[{[layer.name for layer in self.layers].index(name)}]"

    def offset(self, buffer: str) -> str:
        """Return the offset of a buffer in the robot; there is none of a buffer that no operation uses."""
        if buffer not in self.program.plan.offsets:
            return "METARL_NONE"
        return f"OFFSET({identifier(buffer)})"

    def name(self, stage: Stage) -> str:
        """Return the name of a stage's function."""
        return f"{self.prefix}_stage_{identifier(stage.name)}"
