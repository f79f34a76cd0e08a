"""The program of an inner step: from a network's layers and what the method does to them to operations on buffers.

The network's input passes forward, and a gradient back, each in the memory of what it replaces wherever that is not
kept (p-Meta, Qu et al., KDD 2022, Sec. 3.2, 3.3 and 3.5, Appendix A). Kept for the backward pass are the inputs of
updated layers, of them only the channels that attention scores above zero, and one bit per ReLU; it ends at the first
updated layer. Gradients are added up over all blocks of time steps in accumulators, which become the change of the
parameters.

Attention judges whole episodes. Where an episode is longer than a block, a pass of its own, which keeps no layer's
input, finds the means that attention looks at. The result does not depend on the size of the blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from metarl.policies.device.advantages import MOMENTS, feature_count, triangle
from metarl.policies.device.network import DeviceLayer
from metarl.policies.device.passes import Pass
from metarl.policies.device.program import Buffer, Buffers, Operation, Phase, Program, Stage
from metarl.policies.device.workload import Estimator, Window, Workload, whole_window


def step_program(
    layers: Sequence[DeviceLayer],
    work: Workload,
    estimator: Estimator | None = None,
    windows: Sequence[Window] = (),
) -> Program:
    """Return the program of one inner step on recorded episodes.

    Args:
        layers: The network's layers from the input to the output, of which the step updates at least one.
        work: The sizes of the episodes and of the blocks in work.
        estimator: How the advantages are computed from the rewards; None if they are stored with the episodes.
        windows: The passes over the episodes, which together add up all gradients; one pass if empty.

    Returns:
        The program, at whose end the parameters have been changed.
    """
    buffers = Buffers()
    baseline = None
    if estimator:
        baseline = Baseline(layers[0].stated.inputs, work, estimator, buffers)
    phases = (*(baseline.phases() if baseline else ()), *gradient_phases(layers, work, buffers, baseline, windows))
    return Program(phases, buffers)


def advantages_program(observation_size: int, work: Workload, estimator: Estimator) -> Program:
    """Return the program whose last phase computes the advantages of one episode after the other."""
    buffers = Buffers()
    baseline = Baseline(observation_size, work, estimator, buffers)
    stage = Stage("advantages", (baseline.advantages(),))
    return Program((*baseline.phases(), Phase("advantages", (stage,), every_episode=True)), buffers)


@dataclass(frozen=True)
class Baseline:
    """The linear baseline of a program, which adds the buffers that its operations need.

    Attributes:
        observation_size: The numbers of an observation.
        work: The sizes of the episodes and of the blocks in work.
        estimator: How the advantages are computed from the rewards.
        buffers: The buffers of the program.
        name: What the names of its own buffers begin with.
    """

    observation_size: int
    work: Workload
    estimator: Estimator
    buffers: Buffers
    name: str = ""

    @property
    def feature_count(self) -> int:
        """The number of its features."""
        return feature_count(self.observation_size, self.estimator.features)

    def equations(self) -> tuple[str, str, str]:
        """Return the trace and both sides of the normal equations."""
        count = self.feature_count
        return self._doubles("trace", count), self._doubles("gram", triangle(count)), self._doubles("target", count)

    def features(self, use: str) -> str:
        """Return the features of some time steps: one buffer for each use, so that each lies where there is room."""
        shape = self.work.feature_rows, self.feature_count
        return self.buffers.add(Buffer(f"{use}.features", shape, "float64", by_row=True, scratch=True))

    def phases(self) -> Iterator[Phase]:
        """Fit the baseline to the returns, and find the mean and the scale of the advantages."""
        trace, gram, target = self.equations()
        moments, returns = self._doubles("moments", MOMENTS), self._doubles("returns", self.work.episode)
        discount = self.estimator.discount
        add = Operation("add_normal_equations", (self.features("equations"), trace, gram, target, discount))
        yield self._once("clear equations", *(Operation("fill", (each, 0)) for each in (gram, target)))
        yield self._every(
            "returns",
            Stage(f"{self.name}clear trace", (Operation("fill", (trace, 0)),)),
            Stage(f"{self.name}add equations", (add,), self.work.feature_rows),
        )
        clear = (Operation("fill", (each, 0)) for each in (moments, returns))
        yield self._once("solve", Operation("solve", (gram, target)), *clear)
        operands = target, self.features("statistics"), moments, returns, discount, self.estimator.gae_lambda
        yield self._every("statistics", Stage(f"{self.name}statistics", (Operation("add_statistics", operands),)))
        yield self._once("scale", Operation("find_scale", (moments, returns)))

    def advantages(self) -> Operation:
        """Compute the advantages of the episode in work."""
        _, _, target = self.equations()
        advantages = self.buffers.add(Buffer(f"{self.name}advantages", (self.work.episode,)))
        operands = target, self.features("advantages"), self._doubles("moments", MOMENTS), advantages
        return Operation("normalized_advantages", (*operands, self.estimator.discount, self.estimator.gae_lambda))

    def _doubles(self, name: str, size: int) -> str:
        return self.buffers.add(Buffer(f"{self.name}{name}", (size,), "float64"))

    def _once(self, name: str, *operations: Operation) -> Phase:
        return Phase(f"{self.name}{name}", (Stage(f"{self.name}{name}", operations),))

    def _every(self, name: str, *stages: Stage) -> Phase:
        return Phase(f"{self.name}{name}", stages, every_episode=True)


def gradient_phases(
    layers: Sequence[DeviceLayer],
    work: Workload,
    buffers: Buffers,
    baseline: Baseline | None,
    windows: Sequence[Window] = (),
) -> Iterator[Phase]:
    """Add up the gradients over all episodes, window by window, and change the parameters.

    Args:
        layers: The network's layers from the input to the output, of which the step updates at least one.
        work: The sizes of the episodes and of the blocks in work.
        buffers: The buffers of the program.
        baseline: Computes the advantages; None if they are stored with the episodes.
        windows: The passes over the episodes, which together add up all gradients; one pass if empty.
    """
    prefix = baseline.name if baseline else ""
    for number, window in enumerate(windows or [whole_window(layers)], start=1):
        name = f"{prefix}window{number}." if windows else prefix
        advantages = f"{prefix}advantages" if baseline else None
        steps = Pass(layers, work, window, buffers, advantages, name)
        begin = [baseline.advantages()] if baseline else []
        stages = []
        if steps.scores_first:
            begin += steps.clear_summaries()
            stages.append(Stage(f"{name}summaries", tuple(steps.summaries()), steps.rows))
            stages.append(Stage(f"{name}scores", tuple(steps.scores())))
        if begin:
            stages.insert(0, Stage(f"{name}episode", tuple(begin)))
        stages.append(Stage(f"{name}gradients", tuple(steps.gradients()), steps.rows))
        yield Phase(f"{name}start", (Stage(f"{name}start", tuple(steps.start())),))
        yield Phase(f"{name}gradients", tuple(stages), every_episode=True)
        if update := tuple(steps.update()):
            yield Phase(f"{name}update", (Stage(f"{name}update", update),))
