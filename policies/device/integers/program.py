"""The program of an inner step in integers: the step of ``adaptation`` at another width.

All activations of a block are kept, a byte each, and say where a ReLU blocks the gradient, so that nothing is copied
and no bits are noted. Attention always judges whole episodes, by a pass of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from metarl.policies.device.adaptation import Baseline
from metarl.policies.device.integers.layer import IntegerLayer
from metarl.policies.device.program import Buffer, Buffers, Element, Operation, Phase, Program, Stage
from metarl.policies.device.workload import Estimator, Workload

Operations = Iterator[Operation]

MOST_ROWS = 4  # of a block: more take memory and gain nothing, for sums over a block are rounded once in int16


def integer_program(layers: Sequence[IntegerLayer], work: Workload, estimator: Estimator, gradient: Element) -> Program:
    """Return the program of one inner step on recorded episodes.

    Args:
        layers: The layers from the input to the output, of which the step updates at least one.
        work: The sizes of the episodes and of the blocks in work.
        estimator: How the advantages are computed from the rewards.
        gradient: The type of gradients, int8 or int16.

    Returns:
        The program, at whose end the parameters have been changed.
    """
    buffers = Buffers()
    baseline = Baseline(layers[0].stated.inputs, work, estimator, buffers)
    steps = IntegerPass(layers, work, buffers, gradient)
    # One row of features at a time, for they stand beside the sums of the gradients.
    advantages = Baseline(layers[0].stated.inputs, replace(work, feature_rows=1), estimator, buffers).advantages()
    stages = [Stage("episode", (advantages, *steps.clear_sums()))]
    if steps.scored:
        stages.append(Stage("summaries", tuple(steps.summaries()), steps.rows))
        stages.append(Stage("scores", tuple(steps.scores())))
    stages.append(Stage("gradients", tuple(steps.gradients()), steps.rows))
    phases = (
        *baseline.phases(),
        Phase("start", (Stage("start", tuple(steps.start())),)),
        Phase("gradients", tuple(stages), every_episode=True),
        Phase("update", (Stage("update", tuple(steps.update())),)),
    )
    return Program(phases, buffers)


@dataclass(frozen=True)
class IntegerPass:
    """The operations of the step, which add the buffers that they need.

    Attributes:
        layers: The layers from the input to the output.
        work: The sizes of the episodes and of the blocks in work.
        buffers: The buffers of the program.
        gradient: The type of gradients.
    """

    layers: Sequence[IntegerLayer]
    work: Workload
    buffers: Buffers
    gradient: Element

    @property
    def rows(self) -> int:
        """The time steps of a block."""
        return min(self.work.chunk, self.work.episode, MOST_ROWS)

    @property
    def learning(self) -> list[int]:
        """The indices of the updated layers; the backward pass ends at the first."""
        return [index for index, layer in enumerate(self.layers) if layer.updated]

    @property
    def scored(self) -> list[tuple[int, str]]:
        """The index and the side of every attention module that judges the episodes."""
        return [(index, side) for index in self.learning for side in self.layers[index].clips]

    @property
    def log_std(self) -> str:
        """The log standard deviation of the actions."""
        return next(name for name in self.layers[-1].stated.extra_names if name.endswith(".log_std"))

    def start(self) -> Operations:
        """Compute the standard deviations, and clear the sums of the gradients."""
        yield Operation("inverse_deviations", ("log_std", self._actions("inverse_std")))
        if self.layers[-1].updated:
            yield Operation("fill", (self._actions("log_std.sum"), 0))
        for index in self.learning:
            yield Operation("fill", (self._bias(index), 0))
            yield Operation("fill", (self._weight(index), 0))
            if self.layers[index].chooses_inputs:
                yield Operation("fill", (self._places(index), -1))

    def clear_sums(self) -> Operations:
        """Clear the sums over an episode that attention looks at."""
        yield from (Operation("fill", (self._sums(index, side), 0)) for index, side in self.scored)

    def summaries(self) -> Operations:
        """Add up over time all integers that attention looks at."""
        yield from self._forward()
        backward = [index for index, side in self.scored if side == "backward"]
        for index, side in self.scored:
            if side == "forward":
                yield Operation("add_rows_integers", (self._inputs(index), self._sums(index, side)))
        if backward:
            yield from self._output_gradient(log_std=False)
            for index in reversed(range(min(backward), len(self.layers))):
                if index in backward:
                    yield Operation("add_rows_integers", (self._gradient(index), self._sums(index, "backward")))
                if index > min(backward):
                    yield self._passed(index)

    def scores(self) -> Operations:
        """Turn the sums over an episode into scores."""
        for index, side in self.scored:
            layer, scores = self.layers[index], self._scores(index, side)
            yield Operation("summarize", (layer.name, side, self._sums(index, side), scores))
            yield Operation("score", (f"attention.{layer.name}.{side}", scores, layer.clips[side], self._row()))
            if side == "forward":
                yield Operation("open_channels", (layer.name, scores, self._places(index)))

    def gradients(self) -> Operations:
        """Add the gradients of a block of time steps to the sums."""
        yield from self._forward()
        yield from self._output_gradient(log_std=self.layers[-1].updated)
        first = self.learning[0]
        for index in reversed(range(first, len(self.layers))):
            layer = self.layers[index]
            if layer.updated:
                scores = self._scores(index, "backward") if "backward" in layer.clips else None
                kept = self._scores(index, "forward") if layer.chooses_inputs else None
                places = self._places(index) if layer.chooses_inputs else None
                gradient = self._gradient(index)
                yield Operation("add_bias_integers", (gradient, scores, self._bias(index)))
                operands = layer.name, self._inputs(index), gradient, kept, scores, places, self._weight(index)
                yield Operation("add_weight_integers", operands)
            if index > first:
                yield self._passed(index)

    def update(self) -> Operations:
        """Move the parameters."""
        for index in self.learning:
            layer = self.layers[index]
            places = self._places(index) if layer.chooses_inputs else None
            yield Operation("update_bias_integers", (layer.name, self._bias(index)))
            yield Operation("update_weight_integers", (layer.name, self._weight(index), places))
        if self.layers[-1].updated:
            yield Operation("update", (self.log_std, self._actions("log_std.sum"), self.layers[-1].step_size))

    def _forward(self) -> Operations:
        yield Operation("load_integers", (self.layers[0].name, self._inputs(0)))
        for index, layer in enumerate(self.layers[:-1]):
            yield Operation("hidden_integers", (layer.name, self._inputs(index), self._inputs(index + 1)))
        last = len(self.layers) - 1
        yield Operation("mean_of_integers", (self.layers[last].name, self._inputs(last), self._mean()))

    def _output_gradient(self, log_std: bool) -> Operations:
        """Compute the gradient at the mean actions, and add that of the log standard deviation."""
        mean, inverse_std, last = self._mean(), self._actions("inverse_std"), len(self.layers) - 1
        yield Operation("standardize", (mean, inverse_std))
        if log_std:
            total = self._actions("log_std.sum")
            yield Operation("add_log_std_gradient", (mean, "advantages", total, self._row()))
        yield Operation("output_gradient", (mean, inverse_std, "advantages"))
        yield Operation("gradient_integers", (self.layers[last].name, mean, self._gradient(last)))

    def _passed(self, index: int) -> Operation:
        """Pass the gradient through a layer and through the ReLU before it."""
        operands = self._gradient(index), self._inputs(index), self._gradient(index - 1)
        return Operation("input_gradient_integers", (self.layers[index].name, *operands))

    def _inputs(self, index: int) -> str:
        layer = self.layers[index].stated
        return self.buffers.add(Buffer(f"{layer.name}.input", (self.rows, layer.inputs), "int8", by_row=True))

    def _gradient(self, index: int) -> str:
        """Return the memory of g(y_l): of int8 that of the layer's output, whose zeros say where the ReLU blocks."""
        layer, narrow = self.layers[index].stated, self.gradient == "int8" and index < len(self.layers) - 1
        overwritten = self._inputs(index + 1) if narrow else None
        shape = self.rows, layer.outputs
        return self.buffers.add(
            Buffer(f"{layer.name}.gradient", shape, self.gradient, overwrites=overwritten, by_row=True)
        )

    def _mean(self) -> str:
        return self.buffers.add(Buffer("mean", (self.rows, self.layers[-1].stated.outputs), by_row=True))

    def _actions(self, name: str) -> str:
        return self.buffers.add(Buffer(name, (self.layers[-1].stated.outputs,)))

    def _row(self) -> str:
        widest = max(max(layer.stated.inputs, layer.stated.outputs) for layer in self.layers)
        return self.buffers.add(Buffer("row", (widest,), scratch=True))

    def _bias(self, index: int) -> str:
        layer = self.layers[index].stated
        return self.buffers.add(Buffer(f"{layer.name}.bias.sum", (layer.outputs,), "int32"))

    def _weight(self, index: int) -> str:
        layer = self.layers[index]
        _, summed = self.work.kept.get(layer.name, (0, 0))
        rows = summed if layer.chooses_inputs else layer.stated.inputs
        shape = rows, layer.stated.outputs
        return self.buffers.add(Buffer(f"{layer.name}.weight.sum", shape, "int16", grows=layer.chooses_inputs))

    def _places(self, index: int) -> str:
        layer = self.layers[index].stated
        return self.buffers.add(Buffer(f"{layer.name}.places", (layer.inputs,), "int16"))

    def _sums(self, index: int, side: str) -> str:
        return self.buffers.add(
            Buffer(f"{self.layers[index].name}.{side}.sum", (self._channels(index, side),), "int32")
        )

    def _scores(self, index: int, side: str) -> str:
        name = f"{self.layers[index].name}.{side}"
        shape = (self._channels(index, side),)
        return self.buffers.add(Buffer(name, shape, overwrites=self._sums(index, side)))

    def _channels(self, index: int, side: str) -> int:
        layer = self.layers[index].stated
        return layer.inputs if side == "forward" else layer.outputs
