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
    phases = list(_baseline(layers[0].weight.shape[1], work, estimator, buffers)) if estimator else []
    for number, window in enumerate(windows or [whole_window(layers)], start=1):
        phases += _window(Pass(layers, work, window, buffers, f"window{number}." if windows else ""), estimator)
    return Program(tuple(phases), buffers)


def advantages_program(observation_size: int, work: Workload, estimator: Estimator) -> Program:
    """Return the program whose last phase computes the advantages of one episode after the other."""
    buffers = Buffers()
    phases = list(_baseline(observation_size, work, estimator, buffers))
    stage = Stage("advantages", (_advantages(work, estimator, buffers),))
    return Program((*phases, Phase("advantages", (stage,), every_episode=True)), buffers)


def _baseline(observation_size: int, work: Workload, estimator: Estimator, buffers: Buffers) -> Iterator[Phase]:
    """Fit the linear baseline to the returns, and find the mean and deviation of the advantages."""
    count = feature_count(observation_size)
    gram = buffers.add(Buffer("gram", (triangle(count),), "float64"))
    target = buffers.add(Buffer("target", (count,), "float64"))
    trace = buffers.add(Buffer("trace", (count,), "float64"))
    moments = buffers.add(Buffer("moments", (MOMENTS,), "float64"))
    gamma, gae_lambda = estimator.discount, estimator.gae_lambda
    clear_equations = Operation("fill", (gram, 0)), Operation("fill", (target, 0))
    add = Operation("add_normal_equations", (_features("equations", count, work, buffers), trace, gram, target, gamma))
    yield Phase("equations", (Stage("clear equations", clear_equations),))
    yield Phase(
        "returns",
        (
            Stage("clear trace", (Operation("fill", (trace, 0)),)),
            Stage("add equations", (add,), work.feature_rows),
        ),
        every_episode=True,
    )
    returns = buffers.add(Buffer("returns", (work.episode,), "float64"))
    clear_statistics = Operation("fill", (moments, 0)), Operation("fill", (returns, 0))
    yield Phase("baseline", (Stage("solve", (Operation("solve", (gram, target)), *clear_statistics)),))
    features = _features("statistics", count, work, buffers)
    statistics = Operation("add_statistics", (target, features, moments, returns, gamma, gae_lambda))
    yield Phase("statistics", (Stage("statistics", (statistics,)),), every_episode=True)
    yield Phase("scale", (Stage("scale", (Operation("find_scale", (moments, returns)),)),))


def _features(name: str, count: int, work: Workload, buffers: Buffers) -> str:
    """Return working memory [step, feature], which holds nothing from one operation to the next."""
    return buffers.add(Buffer(f"{name}.features", (work.feature_rows, count), "float64", by_row=True))


def _window(steps: Pass, estimator: Estimator | None) -> Iterator[Phase]:
    """Add up the gradients of a window over all episodes, and change the parameters."""
    name = steps.name
    begin = [_advantages(steps.work, estimator, steps.buffers)] if estimator else []
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


def _advantages(work: Workload, estimator: Estimator, buffers: Buffers) -> Operation:
    advantages = buffers.add(Buffer("advantages", (work.episode,)))
    features = _features("advantages", buffers["target"].size, work, buffers)
    operands = "target", features, "moments", advantages, estimator.discount, estimator.gae_lambda
    return Operation("normalized_advantages", operands)
