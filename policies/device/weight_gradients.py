"""Kernels that add up the gradients of a layer's parameters, and turn the sums into the parameters' change."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from metarl.policies.device.in_place import FloatArray
from metarl.policies.device.network import DeviceLayer
from metarl.policies.device.run import Run

Places = NDArray[np.int16]


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
