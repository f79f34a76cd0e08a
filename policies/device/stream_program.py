"""The program of an inner step of which no time step is stored: eligibilities and moments instead of episodes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from metarl.core.errors import Refusal
from metarl.policies.device.adaptation import Baseline
from metarl.policies.device.advantages import triangle
from metarl.policies.device.network import DeviceLayer
from metarl.policies.device.passes import Pass
from metarl.policies.device.program import Buffer, Buffers, Operation, Phase, Program, Stage
from metarl.policies.device.streaming import REWARD_MOMENTS, column_count
from metarl.policies.device.workload import Estimator, Workload, whole_window
from metarl.policies.methods import METHODS, Method

FEATURES = "features"  # of the time step in work


def check_streaming(method: Method) -> None:
    """Raise Refusal for a method whose gradients are no sums over single time steps."""
    if method.attention:
        fitting = ", ".join(each.name for each in METHODS.values() if not each.attention)
        raise Refusal(
            f"{method.name} cannot adapt with nothing stored, for its attention looks at whole episodes: {fitting} can"
        )


def stream_program(layers: Sequence[DeviceLayer], horizon: int, estimator: Estimator) -> Program:
    """Return the program of an inner step with nothing stored.

    Its phases are "begin", which runs once, "stream", the rest once. The stages of "stream" are run at the begin of an
    episode, at a time step's action, at its reward, and at the end of the episode.

    Args:
        layers: The network's layers from the input to the output, of which the step updates at least one.
        horizon: The most time steps of an episode.
        estimator: How the advantages are computed from the rewards.
    """
    buffers = Buffers()
    return Program(tuple(Streaming(layers, stream_workload(horizon), estimator, buffers).phases()), buffers)


def stream_workload(horizon: int, rows: int = 1) -> Workload:
    """Return the sizes of a stream: one time step is in work at a time."""
    return Workload(horizon, 1, rows=rows, feature_rows=1, fixed=True)


@dataclass(frozen=True)
class Streaming:
    """The phases of a step with nothing stored, which add the buffers that their operations need.

    Attributes:
        layers: The network's layers from the input to the output.
        work: The sizes of a stream.
        estimator: How the advantages are computed from the rewards.
        buffers: The buffers of the program.
        name: What the names of its own buffers begin with.
    """

    layers: Sequence[DeviceLayer]
    work: Workload
    estimator: Estimator
    buffers: Buffers
    name: str = ""

    def phases(self) -> Iterator[Phase]:
        """Clear all, stream the episodes, find the mixture of the sums, and change the parameters."""
        estimator, steps, traces = self.estimator, self._pass(), self._traces()
        discounts = estimator.discount, estimator.gae_lambda
        trace, gram, target = self._baseline().equations()
        features = self.features()
        last, moments = self._doubles("last", self._columns), self._doubles("second_moments", triangle(self._columns))
        running = self._doubles("running", self._columns + 1)
        rewards, totals = self._doubles("rewards", REWARD_MOMENTS), self._doubles("totals", self.work.episode)
        mixture = self._doubles("mixture", self._columns)
        absorb = [
            Operation("add_moments", (last, running, moments, *discounts)),
            *(Operation("add_eligible", (memory, last, *discounts)) for _, memory in traces),
        ]
        episode = [*(Operation("fill", (each, 0)) for each in (trace, last, running, *dict(traces)))]
        look = [Operation("look", (features,)), Operation("leave", (features, last, *discounts))]
        reward = [
            Operation("hold", (features, last)),
            Operation("add_step", (features, trace, gram, target, estimator.discount)),
            Operation("add_reward", (rewards, totals, estimator.discount)),
        ]
        clear = [Operation("fill", (each, 0)) for each in (gram, target, moments, rewards, totals)]
        clear += [Operation("fill", (memory, 0)) for _, memory in traces]
        yield self._once("begin", [*clear, *steps.deviations()])
        stages = (
            self._stage("episode", [*episode, Operation("begin_rewards", (rewards,))]),
            self._stage("act", [*look, *absorb, *self._scores(steps)], rows=1),
            self._stage("reward", reward, rows=1),
            self._stage("end", absorb),
        )
        yield Phase(f"{self.name}stream", stages, every_episode=True)
        operands = target, moments, rewards, totals, mixture, *discounts
        yield self._once("mix", [Operation("solve", (gram, target)), Operation("mix", operands)])
        yield self._once("combine", [Operation("combine", (memory, mixture)) for _, memory in traces])
        yield self._once("update", [*self._update(steps)])

    def features(self) -> str:
        """Return the features of a time step, which are needed from its action to its reward."""
        shape = 1, self._baseline().feature_count
        return self.buffers.add(Buffer(FEATURES, shape, "float64"))

    @property
    def _columns(self) -> int:
        return column_count(self._baseline().feature_count, self.estimator.gae_lambda)

    def _baseline(self) -> Baseline:
        return Baseline(self.layers[0].stated.inputs, self.work, self.estimator, self.buffers, self.name)

    def _traces(self) -> list[tuple[str, str]]:
        """Return each parameter's eligibility, and the memory that it shares with the sums behind it."""
        traces = []
        for layer in self.layers:
            for name, shape in eligible_shapes(layer).items() if layer.updated else ():
                traces_shape = 1 + self._columns, math.prod(shape)
                memory = self.buffers.add(Buffer(f"{self.name}{name}.traces", traces_shape))
                traces.append((self.buffers.add(Buffer(f"{self.name}{name}.sum", shape, overwrites=memory)), memory))
        return traces

    def _pass(self) -> Pass:
        memory = {
            eligibility.removesuffix(".sum").removeprefix(self.name): memory for eligibility, memory in self._traces()
        }
        return Pass(self.layers, self.work, whole_window(self.layers), self.buffers, None, self.name, memory)

    def _scores(self, steps: Pass) -> Iterator[Operation]:
        """Add the scores of a time step to the eligibilities."""
        contexts = [layer for layer in self.layers if layer.updated and layer.stated.context]
        yield from (Operation("fill", (f"{self.name}{name}.sum", 0)) for layer in contexts for name in layer.changed)
        yield from steps.gradients()
        for layer in contexts:
            for name in layer.changed:
                operands = layer.name, f"{self.name}{name}.sum", f"{self.name}{layer.stated.context_name}.sum"
                yield Operation("add_context_gradient", operands)

    def _update(self, steps: Pass) -> Iterator[Operation]:
        """Turn the gradients, which have taken the eligibilities' place, into the change of the parameters."""
        for index in steps.learning:
            layer = self.layers[index]
            if layer.stated.context:
                for name in layer.changed:
                    operands = f"{self.name}{layer.stated.context_name}.sum", f"{self.name}{name}.sum", layer.step_size
                    yield Operation("update_streamed_context", (layer.name, *operands))
            else:
                yield from steps.update_layer(index)

    def _doubles(self, name: str, size: int) -> str:
        return self.buffers.add(Buffer(f"{self.name}{name}", (size,), "float64"))

    def _stage(self, name: str, operations: Sequence[Operation], rows: int | None = None) -> Stage:
        return Stage(f"{self.name}{name}", tuple(operations), rows)

    def _once(self, name: str, operations: Sequence[Operation]) -> Phase:
        return Phase(f"{self.name}{name}", (self._stage(name, operations),))


def eligible_shapes(layer: DeviceLayer) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the eligibilities of a layer: those of its context alone, or of all that changes."""
    if layer.stated.context:
        return {layer.stated.context_name: (layer.stated.context,)}
    shapes = dict(layer.changed)
    shapes[f"{layer.name}.weight"] = (
        (layer.changing(),) if layer.compact else (layer.stated.inputs, layer.stated.outputs)
    )
    return {name: shape for name, shape in shapes.items() if math.prod(shape) > 0}
