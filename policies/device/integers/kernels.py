"""The kernels of the step in integers. Floating point is in those alone that take observations, actions or scales.

A device needs no more than their operands: a product is summed up in a register. NumPy widens the integers behind the
scenes, to float64, which adds them up exactly in any order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metarl.policies.device.in_place import FloatArray
from metarl.policies.device.integers.layer import IntegerLayer
from metarl.policies.device.run import Run
from metarl.policies.device.weight_gradients import Places
from metarl.policies.networks.fixed_point import Fraction, Integers, by_chance, fraction, nearest, saturated
from metarl.policies.networks.integers import LARGEST

SCORE_BITS = 8  # behind the point of a channel's score
LARGEST_SCORE = 2**15  # of such a score, so that two of them make a factor of 31 bits


def product(left: Integers, right: Integers) -> Integers:
    """Return the matrix product of integers as int32."""
    sums: Integers = np.matmul(left.astype(np.float64), right.astype(np.float64)).astype(np.int32)
    return sums


def load_integers(run: Run, layer: IntegerLayer, inputs: Integers) -> None:
    """Write the observations in work [row, observation] as whole numbers of their scales."""
    values = np.rint(run.block("observations") / layer.input_scales)
    inputs[:] = np.clip(values, -LARGEST, LARGEST)


def hidden_integers(run: Run, layer: IntegerLayer, inputs: Integers, output: Integers) -> None:
    """Compute the rectified output [row, output] of a hidden layer from its input [row, input]."""
    assert isinstance(layer.forward, Fraction)
    sums = product(inputs, layer.weight.T) + layer.bias
    output[:] = np.clip(nearest(sums, layer.forward), 0, LARGEST)


def mean_of_integers(run: Run, layer: IntegerLayer, inputs: Integers, mean: FloatArray) -> None:
    """Compute the mean actions [row, action] from the last layer's input."""
    sums = product(inputs, layer.weight.T) + layer.bias
    np.multiply(sums.astype(np.float32), np.float32(layer.sum_scale), out=mean)


def gradient_integers(run: Run, layer: IntegerLayer, gradient: FloatArray, rounded: Integers) -> None:
    """Round the gradient at the mean actions [row, action] to whole numbers of its scale, by chance."""
    chances = run.dice.roll(gradient.shape) * 2.0**-32
    values = np.floor(gradient.astype(np.float64) / layer.gradient_scale + chances)
    rounded[:] = saturated(values, rounded.dtype.type)


def input_gradient_integers(
    run: Run, layer: IntegerLayer, gradient: Integers, inputs: Integers, passed: Integers
) -> None:
    """Compute the gradient before the ReLU at a layer's input [row, input], rounded by chance.

    Args:
        run: The time steps in work.
        layer: The layer, through which the gradient passes back.
        gradient: g(y_l) [row, output].
        inputs: x_{l-1} [row, input], zero where the ReLU blocks the gradient.
        passed: The result, in the unit of the layer before, perhaps in the memory of ``inputs``.
    """
    assert layer.backward is not None
    sums = product(gradient, layer.weight)
    values = by_chance(sums, layer.backward, run.dice.roll(sums.shape))
    passed[:] = saturated(np.where(inputs > 0, values, 0), passed.dtype.type)


def add_rows_integers(run: Run, tensor: Integers, total: NDArray[np.int32]) -> None:
    """Add the sum over the rows of a tensor [row, channel] to ``total`` [channel]."""
    total += tensor.sum(axis=0, dtype=np.int32)


def summarize(run: Run, layer: IntegerLayer, side: str, total: NDArray[np.int32], summary: FloatArray) -> None:
    """Turn the sums of integers [channel] into those of the numbers that attention looks at, in the same memory."""
    scales = layer.input_scales if side == "forward" else layer.gradient_scale
    summary[:] = total.astype(np.float32) * scales


def add_bias_integers(run: Run, gradient: Integers, scores: FloatArray | None, total: NDArray[np.int32]) -> None:
    """Add g(b) [output], times the scores of the output channels, if there are any."""
    sums = gradient.sum(axis=0, dtype=np.int32)
    if scores is not None:
        sums = by_chance(sums, _factor(scores, None, 0), run.dice.roll(sums.shape))
    total += sums.astype(np.int32)


def add_weight_integers(
    run: Run,
    layer: IntegerLayer,
    inputs: Integers,
    gradient: Integers,
    kept_scores: FloatArray | None,
    scores: FloatArray | None,
    places: Places | None,
    total: NDArray[np.int16],
) -> None:
    """Add g(w) [input, output] of the time steps in work to int16 sums, with the lowest bits rounded by chance.

    Args:
        run: The time steps in work.
        layer: The layer, which says how many bits the sums lose.
        inputs: x_{l-1} [row, input].
        gradient: g(y_l) [row, output].
        kept_scores: The scores [input] of the input channels, of which those at zero are left out; None for all.
        scores: The scores [output] of the output channels; None weighs nothing.
        places: The place [input] of each input's row among the sums; None if all have one.
        total: The sums [place, output].
    """
    channels: Any = slice(None) if kept_scores is None else np.flatnonzero(kept_scores)
    sums = product(inputs[:, channels].T, gradient)
    chosen = None if kept_scores is None else kept_scores[channels]
    added = by_chance(sums, _factor(scores, chosen, layer.sum_shift), run.dice.roll(sums.shape))
    rows: Any = channels if places is None else places[channels]
    total[rows] = saturated(total[rows] + added, np.int16)


def _factor(scores: FloatArray | None, kept_scores: FloatArray | None, shift: int) -> Fraction:
    """Return the product of the scores as a fraction, its multiplier [output] or [input, output]."""
    multiplier: Any = 1
    for each in (scores, None if kept_scores is None else kept_scores[:, None]):
        if each is not None:
            multiplier = multiplier * np.clip(np.rint(each * 2**SCORE_BITS), 0, LARGEST_SCORE).astype(np.int64)
            shift += SCORE_BITS
    return Fraction(multiplier, shift)


def update_bias_integers(run: Run, layer: IntegerLayer, total: NDArray[np.int32]) -> None:
    """Move the biases [output] against the summed gradient, rounded by chance."""
    bias = run.adapted[f"{layer.name}.bias"]
    bias -= _moved(run, total, layer.bias_step(_rate(run, layer))).astype(np.int32)


def update_weight_integers(run: Run, layer: IntegerLayer, total: NDArray[np.int16], places: Places | None) -> None:
    """Move the weights against the summed gradient [place, output], rounded by chance.

    Args:
        run: The number of time steps.
        layer: The layer.
        total: The int16 sums.
        places: The place [input] of each input's row; None if all inputs have one, in their order.
    """
    weight, steps = run.adapted[f"{layer.name}.weight"], layer.weight_steps(_rate(run, layer))
    for channel in range(layer.stated.inputs) if places is None else np.flatnonzero(places >= 0).tolist():
        row = total[channel if places is None else places[channel]]
        moved = _moved(run, row, float(steps[channel if len(steps) > 1 else 0]))
        weight[:, channel] = saturated(weight[:, channel] - moved, np.int8)


def _rate(run: Run, layer: IntegerLayer) -> float:
    return layer.step_size * run.gate / run.steps


def _moved(run: Run, total: Integers, step: float) -> Integers:
    by = fraction(min(abs(step), 2.0**30 - 1))
    moved = by_chance(total, by, run.dice.roll(total.shape))
    return -moved if step < 0 else moved


INTEGER_KERNELS: dict[str, Callable[..., None]] = {
    kernel.__name__: kernel
    for kernel in (
        load_integers,
        hidden_integers,
        mean_of_integers,
        gradient_integers,
        input_gradient_integers,
        add_rows_integers,
        summarize,
        add_bias_integers,
        add_weight_integers,
        update_bias_integers,
        update_weight_integers,
    )
}
