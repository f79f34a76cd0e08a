"""The kernels of the device program in NumPy: what its operations do to the buffers in the arena.

A kernel needs no more memory than its operands, but for a few bytes that NumPy takes for itself. The C library has a
function for each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from metarl.policies.attention import NEARLY
from metarl.policies.device import advantages, in_place, streaming
from metarl.policies.device.in_place import Bits, FloatArray
from metarl.policies.device.network import DeviceLayer

Places = NDArray[np.int16]


class Module(NamedTuple):
    """The parameters of an attention module: two fully-connected layers."""

    hidden_weight: FloatArray  # [hidden unit, channel]
    hidden_bias: FloatArray  # [hidden unit]
    weight: FloatArray  # [channel, hidden unit]
    bias: FloatArray  # [channel]
    bound: FloatArray | None = None  # of the logits, a number


@dataclass
class Run:
    """What the kernels know beside their operands: the recorded episodes, and the time steps in work."""

    storage: Mapping[str, Sequence[FloatArray]]  # by column; one array [time, ...] per episode
    steps: int  # of all episodes
    adapted: dict[str, FloatArray] = field(default_factory=dict)  # the parameters that the step changes
    episode: int = 0
    start: int = 0
    stop: int = 0
    first: int = 0  # the first time step of the episode that the storage has: with streaming, the one in work
    episodes: int = 0  # of a stream
    gate: float = 1.0  # multiplies the step sizes
    kept: dict[str, tuple[int, int]] = field(default_factory=dict)  # channels by layer: of an episode at most, of all

    def column(self, name: str) -> FloatArray:
        """Return what is stored of the episode in work."""
        return self.storage[name][self.episode]

    def block(self, name: str) -> FloatArray:
        """Return what is stored of the time steps in work."""
        return self.column(name)[self.start - self.first : self.stop - self.first]

    def advantages(self, computed: FloatArray | None) -> FloatArray:
        """Return the advantages of the time steps in work: the computed ones, or those that are stored."""
        return (
            self.block("advantages") if computed is None else computed[self.start - self.first : self.stop - self.first]
        )


def fill(run: Run, buffer: NDArray[Any], value: float) -> None:
    """Set all elements to a value."""
    buffer.fill(value)


def inverse_deviations(run: Run, log_std: FloatArray, inverse_std: FloatArray) -> None:
    """Compute 1 / std [action]."""
    np.exp(np.negative(log_std, out=inverse_std), out=inverse_std)


def load(run: Run, inputs: FloatArray) -> None:
    """Copy the observations in work from storage: the first layer's input [row, observation]."""
    inputs[:] = run.block("observations")


def linear(run: Run, layer: DeviceLayer, inputs: FloatArray, output: FloatArray) -> None:
    """Compute y_l [row, output] from x_{l-1} [row, input]."""
    np.matmul(inputs, layer.weight.T, out=output)
    in_place.add_to_rows(output, layer.bias)


def linear_in_place(run: Run, layer: DeviceLayer, inputs: FloatArray, output: FloatArray, row: FloatArray) -> None:
    """Compute y_l in the memory of x_{l-1}."""
    in_place.multiply_in_place(inputs, layer.weight, output, row)
    in_place.add_to_rows(output, layer.bias)


def rectify(run: Run, output: FloatArray, bits: Bits | None, row: FloatArray) -> None:
    """Apply the ReLU, and note in ``bits``, if there are any, where it blocks the gradient."""
    words = output.reshape(-1)
    if bits is not None:
        in_place.block_bits(words, bits[: in_place.bytes_of_bits(len(words))], row)
    in_place.rectify(words)


def keep(run: Run, inputs: FloatArray, scores: FloatArray, kept: FloatArray, first: int, count: int) -> None:
    """Copy the channels that attention keeps, of ``count`` from ``first`` on, times their scores [channel]."""
    channels = first + np.flatnonzero(scores[first : first + count])
    copies = kept.reshape(-1)[: len(inputs) * len(channels)].reshape(len(inputs), len(channels))
    np.take(inputs, channels, axis=1, out=copies, mode="clip")
    in_place.scale_columns(copies, scores[channels])


def standardize(run: Run, mean: FloatArray, inverse_std: FloatArray) -> None:
    """Compute z = (mean - action) / std [row, action] in the memory of the mean."""
    np.subtract(mean, run.block("actions"), out=mean)
    in_place.scale_columns(mean, inverse_std)


def add_log_std_gradient(
    run: Run, standardized: FloatArray, stored: FloatArray | None, total: FloatArray, row: FloatArray
) -> None:
    """Add the sum over time of (1 - z^2) * advantage to ``total`` [action]."""
    weights, squares = run.advantages(stored), row[: len(total)]
    np.einsum("ta,ta,t->a", standardized, standardized, weights, out=squares)
    np.add(total, np.subtract(np.add.reduce(weights), squares, out=squares), out=total)


def output_gradient(run: Run, standardized: FloatArray, inverse_std: FloatArray, stored: FloatArray | None) -> None:
    """Compute g(y_L) of minus the sum over time of log pi * advantage, in the memory of z."""
    in_place.scale_columns(standardized, inverse_std)
    in_place.scale_rows(standardized, run.advantages(stored))


def choice_gradient(run: Run, logits: FloatArray, stored: FloatArray | None) -> None:
    """Compute g(y_L) of minus the sum over time of log pi * advantage, in the memory of the logits [row, choice].

    That is (softmax - one-hot) * advantage.
    """
    choices = run.block("actions")[:, 0]
    for row, choice, advantage in zip(logits, choices, run.advantages(stored), strict=True):
        np.exp(np.subtract(row, row.max(), out=row), out=row)
        np.divide(row, np.add.reduce(row), out=row)
        row[int(choice)] -= 1
        np.multiply(row, advantage, out=row)


def input_gradient(run: Run, layer: DeviceLayer, gradient: FloatArray, passed: FloatArray) -> None:
    """Compute g(x_{l-1}) [row, input] from g(y_l) [row, output]."""
    np.matmul(gradient, layer.weight, out=passed)


def input_gradient_in_place(
    run: Run, layer: DeviceLayer, gradient: FloatArray, passed: FloatArray, row: FloatArray
) -> None:
    """Compute g(x_{l-1}) in the memory of g(y_l)."""
    in_place.multiply_in_place(gradient, layer.weight.T, passed, row)


def block(run: Run, gradient: FloatArray, bits: Bits, row: FloatArray) -> None:
    """Pass the gradient through the ReLU backward: zero it where the ReLU blocks it."""
    words = gradient.reshape(-1)
    in_place.block(words, bits[: in_place.bytes_of_bits(len(words))], row)


def add_rows(run: Run, tensor: FloatArray, total: FloatArray, row: FloatArray) -> None:
    """Add the sum over the rows of a tensor [row, channel] to ``total`` [channel]."""
    np.add(total, np.add.reduce(tensor, axis=0, out=row[: len(total)]), out=total)


def score(run: Run, module: Module, summary: FloatArray, clip: float, row: FloatArray) -> None:
    """Replace a tensor's sum over an episode [channel] by the scores gamma of its mean (p-Meta, Fig. 3, Alg. 1).

    The counterpart of ``metarl.policies.attention.attention_scores``.
    """
    hidden = row[: len(module.hidden_bias)]
    np.divide(summary, len(run.column("observations")), out=summary)
    np.matmul(module.hidden_weight, summary, out=hidden)
    np.add(hidden, module.hidden_bias, out=hidden)
    in_place.rectify(hidden)
    np.matmul(module.weight, hidden, out=summary)
    np.add(summary, module.bias, out=summary)
    if module.bound is not None:
        size = np.abs(summary, out=row[: len(summary)])
        np.multiply(summary, module.bound, out=summary)
        np.divide(summary, np.add(size, module.bound, out=size), out=summary)
    np.subtract(summary, summary.max(), out=summary)
    np.exp(summary, out=summary)
    np.divide(summary, np.add.reduce(summary), out=summary)
    if clip > 0:
        _drop_smallest(summary, clip, 1.0 if module.bound is None else NEARLY, row[: len(summary)])
    np.multiply(summary, len(summary) / np.add.reduce(summary), out=summary)


def _drop_smallest(shares: FloatArray, clip: float, nearly: float, ordered: FloatArray) -> None:
    """Zero the smallest shares up to and including the first at which their sum reaches ``clip``, never the largest.

    Those of at least ``nearly`` times the smallest one kept stay.

    Args:
        shares: The shares [channel], which sum to 1.
        clip: rho.
        nearly: From which part of the smallest share kept the others are kept, too.
        ordered: Memory for the sorted shares [channel].
    """
    ordered[:] = shares
    ordered.sort()
    total, count = 0.0, 0
    while total < clip and count < len(ordered) - 1:
        total += float(ordered[count])
        count += 1
    shares[shares < nearly * ordered[count]] = 0


def open_channels(run: Run, layer: DeviceLayer, scores: FloatArray, places: Places) -> None:
    """Give each channel that attention keeps a place [channel] among the accumulators; others without one are at -1."""
    new = np.flatnonzero((scores != 0) & (places < 0))
    known = int(places.max()) + 1
    places[new] = np.arange(known, known + len(new))
    most, _ = run.kept.get(layer.name, (0, 0))
    run.kept[layer.name] = max(most, int(np.count_nonzero(scores))), known + len(new)


def add_bias_gradient(
    run: Run, gradient: FloatArray, scores: FloatArray | None, total: FloatArray, row: FloatArray
) -> None:
    """Add g(b) [output], times the scores of the output channels, if there are any."""
    summed = np.add.reduce(gradient, axis=0, out=row[: len(total)])
    np.add(total, _weighed(summed, scores), out=total)


def add_weight_gradient(
    run: Run,
    inputs: FloatArray,
    gradient: FloatArray,
    scores: FloatArray | None,
    total: FloatArray,
    row: FloatArray,
    first: int,
) -> None:
    """Add g(w) [input, output] of the inputs from ``first`` on.

    Args:
        run: The time steps in work.
        inputs: x_{l-1} [row, input].
        gradient: g(y_l) [row, output].
        scores: The scores [output] of the output channels; None weighs nothing.
        total: The accumulators [input, output], of some or all inputs.
        row: Working memory for one row of them.
        first: The first of these inputs.
    """
    if scores is None:
        inputs_in_window = torch.from_numpy(inputs)[:, first : first + len(total)]
        torch.from_numpy(total).addmm_(inputs_in_window.mT, torch.from_numpy(gradient))
        return
    summed = row[: total.shape[1]]
    for target, channel in zip(total, inputs.T[first:], strict=False):
        np.add(target, _weighed(np.matmul(channel, gradient, out=summed), scores), out=target)


def add_masked_gradient(
    run: Run,
    layer: DeviceLayer,
    inputs: FloatArray,
    gradient: FloatArray,
    scores: FloatArray | None,
    total: FloatArray,
    row: FloatArray,
    first: int,
    count: int,
) -> None:
    """Add g(w) of those weights of a layer that are not pruned, of ``count`` inputs from ``first`` on.

    Args:
        run: The time steps in work.
        layer: The layer, which says which weights these are.
        inputs: x_{l-1} [row, input].
        gradient: g(y_l) [row, output].
        scores: The scores [output] of the output channels; None weighs nothing.
        total: The accumulators [kept weight], input by input.
        row: Working memory for one number per output.
        first: The first of these inputs.
        count: The number of these inputs.
    """
    summed = row[: gradient.shape[1]]
    for channel, outputs, place in _kept_by_input(layer, first, count):
        whole = _weighed(np.matmul(inputs[:, channel], gradient, out=summed), scores)
        total[place] += whole[outputs]


def _kept_by_input(layer: DeviceLayer, first: int, count: int) -> Iterator[tuple[int, NDArray[np.bool_], slice]]:
    """Yield every input with a weight left, of ``count`` from ``first`` on: its outputs, and their accumulators."""
    assert layer.kept is not None
    end = 0
    for channel, outputs in enumerate(layer.kept.T[first : first + count], first):
        start, end = end, end + int(np.count_nonzero(outputs))
        if end > start:
            yield channel, outputs, slice(start, end)


def add_kept_gradient(
    run: Run,
    kept: FloatArray,
    gradient: FloatArray,
    kept_scores: FloatArray,
    scores: FloatArray | None,
    places: Places | None,
    total: FloatArray,
    row: FloatArray,
    first: int,
    count: int,
) -> None:
    """Add g(w) of the inputs that attention keeps, of ``count`` from ``first`` on, to their rows of the accumulators.

    Args:
        run: The time steps in work.
        kept: Those inputs times their scores, as ``keep`` left them.
        gradient: g(y_l) [row, output].
        kept_scores: The scores [input] of the input channels.
        scores: The scores [output] of the output channels; None weighs nothing.
        places: The place [input] of each input's row; None if all ``count`` inputs have one, in their order.
        total: The accumulators [place, output].
        row: Working memory for one row of them.
        first: The first input that may have a row.
        count: The number of inputs that may have one.
    """
    channels = np.flatnonzero(kept_scores[first : first + count])
    copies = kept.reshape(-1)[: len(gradient) * len(channels)].reshape(len(gradient), len(channels))
    summed = row[: total.shape[1]]
    for channel, copy in zip(
        (channels if places is None else places[first + channels]).tolist(), copies.T, strict=True
    ):
        target = total[channel]
        np.add(target, _weighed(np.matmul(copy, gradient, out=summed), scores), out=target)


def _weighed(gradient: FloatArray, scores: FloatArray | None) -> FloatArray:
    return gradient if scores is None else np.multiply(gradient, scores, out=gradient)


def update(run: Run, parameter: str, total: FloatArray, step_size: float) -> None:
    """Turn an accumulator [output] into the parameter's change: minus the step size times the mean gradient."""
    run.adapted[parameter] += _scaled(run, total, step_size)


def update_context(run: Run, layer: DeviceLayer, total: FloatArray, change: FloatArray, step_size: float) -> None:
    """Change a context phi, and turn the accumulator into what that changes of the layer's bias.

    y_l = W x + b + C phi, so the gradient of phi is C^T g(b), and that of b is g(y_l) summed over all time steps.

    Args:
        run: The number of time steps.
        layer: The layer, with the matrix C [output, context].
        total: The accumulator g(b) [output], which becomes the change of b.
        change: Working memory for the change of phi [context].
        step_size: alpha.
    """
    np.matmul(total, layer.context_weight, out=change)
    run.adapted[layer.stated.context_name] += _scaled(run, change, step_size)
    np.matmul(layer.context_weight, change, out=total)


def update_weight(
    run: Run, parameter: str, total: FloatArray, places: Places | None, step_size: float, first: int
) -> None:
    """Turn accumulators [place, output] into the change of a weight matrix, of its inputs from ``first`` on.

    Args:
        run: The number of time steps.
        parameter: The weight's name.
        total: The accumulators, which become the change.
        places: The place [input] of each input's row; None if all inputs from ``first`` on have one, in their order.
        step_size: alpha.
        first: The first input that has a row.
    """
    adapted = torch.from_numpy(run.adapted[parameter])
    change = torch.from_numpy(_scaled(run, total, step_size))
    if places is None:
        adapted[:, first : first + len(change)].add_(change.T)
        return
    for channel in np.flatnonzero(places >= 0).tolist():
        adapted[:, channel].add_(change[places[channel]])


def update_masked_weight(
    run: Run, layer: DeviceLayer, total: FloatArray, step_size: float, first: int, count: int
) -> None:
    """Turn accumulators [kept weight] into the change of a layer's weights that are not pruned.

    Args:
        run: The number of time steps.
        layer: The layer, which says which weights these are.
        total: The accumulators, which become the change.
        step_size: alpha.
        first: The first input that has accumulators.
        count: The number of such inputs.
    """
    adapted, change = run.adapted[f"{layer.name}.weight"], _scaled(run, total, step_size)
    for channel, outputs, place in _kept_by_input(layer, first, count):
        adapted[outputs, channel] += change[place]


def _scaled(run: Run, total: FloatArray, step_size: float) -> FloatArray:
    return np.multiply(total, -step_size * run.gate / run.steps, out=total)


KERNELS: dict[str, Callable[..., None]] = {
    kernel.__name__: kernel
    for kernel in (
        add_masked_gradient,
        update_masked_weight,
        fill,
        inverse_deviations,
        load,
        linear,
        linear_in_place,
        rectify,
        keep,
        standardize,
        add_log_std_gradient,
        output_gradient,
        choice_gradient,
        input_gradient,
        input_gradient_in_place,
        block,
        add_rows,
        score,
        open_channels,
        add_bias_gradient,
        add_weight_gradient,
        add_kept_gradient,
        update,
        update_context,
        update_weight,
        advantages.add_normal_equations,
        advantages.solve,
        advantages.add_statistics,
        advantages.find_scale,
        advantages.normalized_advantages,
        streaming.look,
        streaming.leave,
        streaming.add_moments,
        streaming.add_eligible,
        streaming.hold,
        streaming.add_step,
        streaming.begin_rewards,
        streaming.add_reward,
        streaming.mix,
        streaming.combine,
        streaming.add_context_gradient,
        streaming.update_streamed_context,
    )
}
