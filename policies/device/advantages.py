"""The kernels of the advantages: ``metarl.policies.advantages`` in the memory of half a Gram matrix.

The linear baseline's normal equations are added up a few time steps at a time and solved in place; the advantages are
computed from the recorded rewards whenever they are needed. The recorded episodes are storage and not counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from metarl.core.errors import Refusal
from metarl.policies.advantages import MIN_SPREAD, BaselineFeatures

if TYPE_CHECKING:
    from metarl.policies.device.in_place import FloatArray
    from metarl.policies.device.run import Run

Doubles = NDArray[np.float64]

RIDGE, RIDGES = 1e-5, 6  # the first ridge, and how many are tried, each ten times the one before
SMALLEST_DEVIATION = 1e-8  # of the advantages, which are divided by it
MOMENTS = 5  # numbers that normalize the advantages: count, mean, squared deviations, squared returns, scale


def feature_count(observations: int, features: BaselineFeatures) -> int:
    """Return the number of features of the linear baseline: [o, o^2, t, t^2, t^3, 1], or without observations."""
    return 4 if features == "time" else 2 * observations + 4


def triangle(size: int) -> int:
    """Return the number of elements in the lower triangle of a square matrix."""
    return size * (size + 1) // 2


def add_normal_equations(
    run: Run, features: Doubles, trace: Doubles, gram: Doubles, target: Doubles, discount: float
) -> None:
    """Add the time steps in work to the normal equations of the returns' regression on the features.

    A reward counts in the returns of all earlier steps of its episode. The discounted sum of their features is the
    ``trace``, so that no return has to be known.

    Args:
        run: The episode and the time steps in work.
        features: Working memory [step, feature].
        trace: The trace [feature] before these steps, and after them.
        gram: The lower triangle of the Gram matrix [feature, feature], row by row.
        target: The products [feature] of features and returns.
        discount: gamma.
    """
    rewards = run.block("rewards")
    write_features(run.block("observations"), run.start, features)
    for index, row in enumerate(_rows(gram)):
        np.add(row, features[:, index] @ features[:, : index + 1], out=row)
    returns = _discounted(
        rewards, discount
    )  # within the block; after it, the trace has gamma to the power of its length
    target += returns @ features + discount * returns[0] * trace
    trace *= discount ** len(rewards)
    trace += discount ** np.arange(len(rewards) - 1, -1, -1) @ features


def solve(run: Run, gram: Doubles, target: Doubles) -> None:
    """Solve the normal equations by a Cholesky factorization, in the memory of both sides; with more ridge if need be.

    The solution, the weights [feature] of the baseline, replaces ``target``. It is NaN if there is none.
    """
    rows = _rows(gram)
    for attempt in range(RIDGES):
        ridge = RIDGE * 10**attempt
        known = _factorize(rows, ridge)
        if known == len(rows):
            _substitute(rows, target)
            return
        _multiply_out(rows, known, ridge)
    target.fill(math.nan)


def add_statistics(
    run: Run,
    weights: Doubles,
    features: Doubles,
    moments: Doubles,
    returns: Doubles,
    discount: float,
    gae_lambda: float,
) -> None:
    """Add an episode's advantages to their moments, and its returns to the sums over all episodes.

    Args:
        run: The episode in work.
        weights: The weights [feature] of the linear baseline.
        features: Working memory [step, feature].
        moments: The count, mean and sum of squared deviations of the advantages, and the sum of squared returns.
        returns: The sum over episodes [time] of the returns.
        discount: gamma.
        gae_lambda: lambda.
    """
    count, mean, squares, energy = moments[:4].tolist()
    for _, advantage in _reversed_advantages(run, weights, features, discount, gae_lambda):
        count += 1
        deviation = advantage - mean
        mean += deviation / count
        squares += deviation * (advantage - mean)
    earned = _discounted(run.column("rewards"), discount)
    np.add(returns[: len(earned)], earned, out=returns[: len(earned)])
    moments[:4] = count, mean, squares, energy + float(earned @ earned)


def find_scale(run: Run, moments: Doubles, returns: Doubles) -> None:
    """Find the factor that brings the advantages to a deviation of 1, and write it behind their moments.

    It is 0 where all actions were rewarded alike, as ``metarl.policies.advantages.tell_nothing`` judges.

    Raises:
        Refusal: If the advantages are not finite, because rewards or observations are too large.
    """
    count, _, squares, energy = moments[:4].tolist()
    if not math.isfinite(squares):
        raise Refusal("the advantages are not finite: the rewards or observations are too large")
    episodes = len(run.storage["rewards"])
    differences = energy - float(returns @ returns) / episodes
    if episodes == 1:
        rewards = run.column("rewards").astype(np.float64)
        energy, differences = float(rewards @ rewards), float(np.square(rewards - rewards.mean()).sum())
    alike = differences <= MIN_SPREAD**2 * energy
    moments[4] = 0 if alike else 1 / max(math.sqrt(squares / count), SMALLEST_DEVIATION)


def normalized_advantages(
    run: Run,
    weights: Doubles,
    features: Doubles,
    moments: Doubles,
    advantages: FloatArray,
    discount: float,
    gae_lambda: float,
) -> None:
    """Compute an episode's advantages (Schulman et al. 2016, eq. 16) with mean 0 and deviation 1 over all episodes.

    Args:
        run: The episode in work.
        weights: The weights [feature] of the linear baseline.
        features: Working memory [step, feature].
        moments: The moments of the advantages and, behind them, their scale.
        advantages: The result [time].
        discount: gamma.
        gae_lambda: lambda.
    """
    _, mean, _, _, scale = moments.tolist()
    for time, advantage in _reversed_advantages(run, weights, features, discount, gae_lambda):
        advantages[time] = (advantage - mean) * scale


def _reversed_advantages(
    run: Run, weights: Doubles, features: Doubles, discount: float, gae_lambda: float
) -> Iterator[tuple[int, float]]:
    """Yield an episode's time steps and their advantages before normalization, from the last one on."""
    observations, rewards = run.column("observations"), run.column("rewards")
    advantage = following = 0.0
    for start in reversed(range(0, len(rewards), len(features))):
        block = features[: len(rewards) - start]
        write_features(observations[start : start + len(block)], start, block)
        values = (block @ weights).tolist()
        for index in reversed(range(len(block))):
            error = float(rewards[start + index]) + discount * following - values[index]
            advantage = error + discount * gae_lambda * advantage
            following = values[index]
            yield start + index, advantage


def _discounted(rewards: FloatArray, discount: float) -> Doubles:
    """Return sum_{s >= t} discount^(s - t) * rewards[s] for every t."""
    returns, total = np.empty(len(rewards)), 0.0
    for time, reward in reversed(list(enumerate(rewards.tolist()))):
        returns[time] = total = reward + discount * total
    return returns


def write_features(observations: FloatArray, start: int, features: Doubles) -> None:
    """Write the features [step, feature] of the time steps from ``start`` on, time in hundreds of steps."""
    steps, width = len(observations), (features.shape[1] - 4) // 2  # no observations are among four features
    features[:, :width] = observations[:, :width]
    np.square(features[:, :width], out=features[:, width : 2 * width])
    time, squared, cubed, constant = features[:, 2 * width :].T
    np.divide(np.arange(start, start + steps), 100, out=time)
    np.square(time, out=squared)
    np.multiply(squared, time, out=cubed)
    constant.fill(1)


def _rows(gram: Doubles) -> list[Doubles]:
    """Return views of the rows of a lower triangle, from the first to the diagonal element."""
    size = math.isqrt(2 * len(gram))
    return [gram[triangle(index) : triangle(index + 1)] for index in range(size)]


def _factorize(rows: list[Doubles], ridge: float) -> int:
    """Replace A, given by its lower triangle, by L with L L^T = A + ridge I, column by column.

    Return the number of columns done: all of them, or those before the first whose pivot is not positive.
    """
    for column, of_column in enumerate(rows):
        known = of_column[:column]
        pivot = float(of_column[column] + ridge - known @ known)
        if not 0 < pivot < math.inf:
            return column
        of_column[column] = math.sqrt(pivot)
        for row in rows[column + 1 :]:
            row[column] = (row[column] - row[:column] @ known) / of_column[column]
    return len(rows)


def _multiply_out(rows: list[Doubles], columns: int, ridge: float) -> None:
    """Undo ``_factorize`` for the first ``columns``, up to rounding."""
    for column in reversed(range(columns)):
        of_column = rows[column][: column + 1]
        for row in rows[column + 1 :]:
            row[column] = row[: column + 1] @ of_column
        of_column[column] = of_column @ of_column - ridge


def _substitute(rows: list[Doubles], target: Doubles) -> None:
    """Replace ``target`` by the solution for the factor L given by its lower triangle."""
    for index, row in enumerate(rows):
        target[index] = (target[index] - row[:index] @ target[:index]) / row[index]
    for index in reversed(range(len(rows))):
        target[index] /= rows[index][index]
        target[:index] -= target[index] * rows[index][:index]
