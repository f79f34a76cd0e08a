"""The kernels of the device program in NumPy: what its operations do to the buffers in the arena.

A kernel needs no more memory than its operands, but for a few bytes that NumPy takes for itself. The C library has a
function for each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from metarl.policies.attention import NEARLY
from metarl.policies.device import advantages, in_place, streaming, weight_gradients
from metarl.policies.device.coordinates import COORDINATE_KERNELS
from metarl.policies.device.in_place import Bits, FloatArray
from metarl.policies.device.integers.kernels import INTEGER_KERNELS
from metarl.policies.device.network import DeviceLayer
from metarl.policies.device.run import Run
from metarl.policies.device.weight_gradients import Places


class Module(NamedTuple):
    """The parameters of an attention module: two fully-connected layers."""

    hidden_weight: FloatArray  # [hidden unit, channel]
    hidden_bias: FloatArray  # [hidden unit]
    weight: FloatArray  # [channel, hidden unit]
    bias: FloatArray  # [channel]
    bound: FloatArray | None = None  # of the logits, a number


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


def squash(run: Run, output: FloatArray) -> None:
    """Apply tanh."""
    np.tanh(output, out=output)


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


def input_gradient_tanh(
    run: Run, layer: DeviceLayer, gradient: FloatArray, passed: FloatArray, row: FloatArray
) -> None:
    """Compute g(y_{l-1}) = g(x_{l-1}) (1 - x^2) in the memory of x_{l-1} = tanh(y_{l-1}), which ``passed`` holds."""
    at_once = len(row) // passed.shape[1]
    for start in range(0, len(passed), at_once):
        outputs = passed[start : start + at_once]
        product = row[: outputs.size].reshape(outputs.shape)
        np.matmul(gradient[start : start + at_once], layer.weight, out=product)
        np.multiply(outputs, outputs, out=outputs)
        np.subtract(1, outputs, out=outputs)
        np.multiply(outputs, product, out=outputs)


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


KERNELS: dict[str, Callable[..., None]] = (
    INTEGER_KERNELS
    | COORDINATE_KERNELS
    | {
        kernel.__name__: kernel
        for kernel in (
            weight_gradients.add_masked_gradient,
            weight_gradients.update_masked_weight,
            fill,
            inverse_deviations,
            load,
            linear,
            linear_in_place,
            rectify,
            squash,
            keep,
            standardize,
            add_log_std_gradient,
            output_gradient,
            choice_gradient,
            input_gradient,
            input_gradient_in_place,
            input_gradient_tanh,
            block,
            add_rows,
            score,
            open_channels,
            weight_gradients.add_bias_gradient,
            weight_gradients.add_weight_gradient,
            weight_gradients.add_kept_gradient,
            weight_gradients.update,
            weight_gradients.update_context,
            weight_gradients.update_weight,
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
)
