"""Advantages on a device: those of ``metarl.policies.advantages``, in the memory of one Gram matrix.

The normal equations of the linear baseline are added up a few time steps at a time and solved in place. The
recorded episodes, and with them one return or advantage per time step, are storage and not counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from metarl.policies.advantages import MIN_SPREAD
from metarl.policies.device.in_place import FloatArray
from metarl.policies.device.meter import Meter

Doubles = NDArray[np.float64]

BLOCK = 8  # time steps whose features are in memory at a time
RIDGE, RIDGES = 1e-5, 6  # the first ridge, and how many are tried, each ten times the one before


def device_advantages(
    observations: Sequence[FloatArray],
    rewards: Sequence[FloatArray],
    discount: float,
    gae_lambda: float,
    meter: Meter,
) -> list[FloatArray]:
    """The normalized advantages [time] of each of one task's episodes, with ``observations`` [time, observation].

    Not finite where rewards or observations are too large to compute with.
    """
    returns = [_discounted(episode, discount) for episode in rewards]
    if _tell_nothing(rewards, returns):
        return [np.zeros(len(episode), np.float32) for episode in rewards]
    features = meter.count(np.ones((BLOCK, 2 * observations[0].shape[1] + 4)))
    weights = _baseline(observations, returns, features, meter)
    advantages = []
    for inputs, earned, values in zip(observations, rewards, returns, strict=True):
        for start, block in _feature_blocks(inputs, features):
            np.matmul(block, weights, out=values[start : start + len(block)])
        errors = np.subtract(earned, values)
        errors[:-1] += discount * values[1:]
        advantages.append(_discounted(errors, discount * gae_lambda))
    return _normalized(advantages)


def _discounted(values: NDArray[np.floating], discount: float) -> Doubles:
    """sum_{s >= t} discount^(s - t) * values[s] for every t."""
    sums, total = np.empty(len(values)), 0.0
    for time in reversed(range(len(values))):
        total = float(values[time]) + discount * total
        sums[time] = total
    return sums


def _tell_nothing(rewards: Sequence[FloatArray], returns: Sequence[Doubles]) -> bool:
    """Return whether all actions were rewarded alike, as ``metarl.policies.advantages.tell_nothing`` does."""
    differences = squares = 0.0
    for group in [rewards[0]] if len(returns) == 1 else zip_longest(*returns, fillvalue=0.0):
        values = np.asarray(group, np.float64)
        differences += float(np.square(values - values.mean()).sum())
        squares += float(np.square(values).sum())
    return differences <= MIN_SPREAD**2 * squares


def _feature_blocks(observations: FloatArray, memory: Doubles) -> Iterator[tuple[int, Doubles]]:
    """First time steps and features [o, o^2, t, t^2, t^3, 1] of blocks, t in hundreds of steps, all in ``memory``.

    The last column of ``memory`` [time, feature] is 1 already.
    """
    steps, width = observations.shape
    for start in range(0, steps, len(memory)):
        block = memory[: min(len(memory), steps - start)]
        block[:, :width] = observations[start : start + len(block)]
        np.square(block[:, :width], out=block[:, width : 2 * width])
        for power in (1, 2, 3):
            block[:, 2 * width + power - 1] = [(time / 100) ** power for time in range(start, start + len(block))]
        yield start, block


def _baseline(
    observations: Sequence[FloatArray], returns: Sequence[Doubles], features: Doubles, meter: Meter
) -> Doubles:
    """The weights [feature] of the ridge regression of the returns on the features."""
    size = features.shape[1]
    gram, target = meter.count(np.zeros((size, size))), meter.count(np.zeros(size))
    row = meter.count(np.empty(size))
    for inputs, values in zip(observations, returns, strict=True):
        for start, block in _feature_blocks(inputs, features):
            for feature in range(size):
                np.add(gram[feature], np.matmul(block[:, feature], block, out=row), out=gram[feature])
            np.add(target, np.matmul(values[start : start + len(block)], block, out=row), out=target)
    diagonal = meter.count(gram.diagonal().copy())
    for attempt in range(RIDGES):
        np.fill_diagonal(gram, np.add(diagonal, RIDGE * 10**attempt, out=row))
        if _factorize(gram):
            return _solve(gram, target)
    return np.full(size, math.nan)


def _factorize(matrix: Doubles) -> bool:
    """Writes the Cholesky factor into the lower triangle, reading the upper one; False if it is not positive."""
    for column in range(len(matrix)):
        known = matrix[column, :column]
        pivot = float(matrix[column, column] - known @ known)
        if not 0 < pivot < math.inf:
            return False
        matrix[column, column] = math.sqrt(pivot)
        for below in range(column + 1, len(matrix)):
            product = matrix[below, :column] @ known
            matrix[below, column] = (matrix[column, below] - product) / matrix[column, column]
    return True


def _solve(factor: Doubles, target: Doubles) -> Doubles:
    """The solution for a Cholesky factor in the lower triangle, in the place of ``target``."""
    size = len(target)
    for index in range(size):
        target[index] = (target[index] - factor[index, :index] @ target[:index]) / factor[index, index]
    for index in reversed(range(size)):
        target[index] = (target[index] - factor[index + 1 :, index] @ target[index + 1 :]) / factor[index, index]
    return target


def _normalized(advantages: Sequence[Doubles]) -> list[FloatArray]:
    """Zero mean and unit standard deviation over all time steps."""
    count = sum(len(each) for each in advantages)
    mean = sum(float(each.sum()) for each in advantages) / count
    variance = sum(float(np.square(each - mean).sum()) for each in advantages) / count
    scale = max(math.sqrt(variance), 1e-8) if math.isfinite(variance) else math.nan
    return [((each - mean) / scale).astype(np.float32) for each in advantages]
