"""The kernels of exact streaming: an inner step of which no time step is stored.

The gradient of a parameter is the sum over time of s_t A_t, with the scores s_t = d/dw of minus log pi(a_t | o_t). Let
phi_u be the features of the linear baseline with the weights w, phi after the end 0, k = gamma lambda, and

    z_u = [phi_u - gamma phi_{u+1}, r_u, 1 - k (at the end 1)],  v = [-w, 1, -mean A].

Then A_t - mean A = v . sum_{u >= t} k^(u - t) z_u, and with the eligibility e_u = k e_{u-1} + s_u

    sum_t s_t (A_t - mean A) = sum_j v_j sum_u e_u z_u[j].

The inner sums and the moments of A, quadratic forms of v, are known online; v is known when the last episode has ended.
With lambda = 1 the last column of z is that of the constant feature, whose place it takes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from metarl.core.errors import Refusal
from metarl.policies.advantages import MIN_SPREAD
from metarl.policies.device.advantages import SMALLEST_DEVIATION, Doubles, triangle, write_features

if TYPE_CHECKING:
    from metarl.policies.device.in_place import FloatArray
    from metarl.policies.device.network import DeviceLayer
    from metarl.policies.device.run import Run

REWARD_MOMENTS = 6  # count, mean, squared deviations; the sum of squared returns, and two numbers that it follows from


def column_count(features: int, gae_lambda: float) -> int:
    """Return the length of z: the features, the reward and, unless the constant feature stands for it, a one."""
    return features + (1 if gae_lambda == 1 else 2)


def look(run: Run, features: Doubles) -> None:
    """Write the features [1, feature] of the time step in work."""
    write_features(run.block("observations"), run.start, features)


def leave(run: Run, features: Doubles, last: Doubles, discount: float, gae_lambda: float) -> None:
    """Complete z of the time step before, if there is one, now that the one after it is known.

    Args:
        run: The time step in work.
        features: Its features.
        last: z of the step before as if it were the last of its episode, zero if there was none.
        discount: gamma.
        gae_lambda: lambda.
    """
    count = features.size
    last[:count] -= discount * features[0]
    if len(last) > count + 1:
        last[-1] -= discount * gae_lambda


def add_moments(
    run: Run, last: Doubles, running: Doubles, moments: Doubles, discount: float, gae_lambda: float
) -> None:
    """Add z to all advantages that it counts in, and the change of their second moments to the sum of these.

    With x_t = sum_{u >= t} k^(u - t) z_u so far, sum_t x_t x_t^T grows by c z^T + z c^T + n z z^T, where c = sum_t
    k^(u - t) x_t before and n = sum_t k^(2 (u - t)).

    Args:
        run: The episode in work.
        last: z.
        running: c, and behind it n of the step before.
        moments: The lower triangle of sum_t x_t x_t^T, over all episodes.
        discount: gamma.
        gae_lambda: lambda.
    """
    decay, sums = discount * gae_lambda, running[:-1]
    half = sums + 0.5 * running[-1] * last
    for row, value in enumerate(last):
        part = moments[triangle(row) : triangle(row + 1)]
        part += half[: row + 1] * value
        part += last[: row + 1] * half[row]
    sums += running[-1] * last
    sums *= decay
    running[-1] = decay**2 * running[-1] + 1


def add_eligible(run: Run, traces: FloatArray, last: Doubles, discount: float, gae_lambda: float) -> None:
    """Add the products of an eligibility and z to their sums, and let the eligibility decay.

    Args:
        run: The episode in work.
        traces: The eligibility e [number] and, behind it, the sums over time of z_j e [column, number].
        last: z.
        discount: gamma.
        gae_lambda: lambda.
    """
    for row, value in zip(traces[1:], last.tolist(), strict=True):
        row += np.float32(value) * traces[0]
    traces[0] *= np.float32(discount * gae_lambda)


def hold(run: Run, features: Doubles, last: Doubles) -> None:
    """Keep z of the time step in work as if it were the last of its episode."""
    count = features.size
    last[:count], last[count] = features[0], run.block("rewards")[0]
    last[count + 1 :] = 1


def add_step(run: Run, features: Doubles, trace: Doubles, gram: Doubles, target: Doubles, discount: float) -> None:
    """Add the time step in work to the normal equations, as ``add_normal_equations`` does."""
    for index, value in enumerate(features[0]):
        gram[triangle(index) : triangle(index + 1)] += value * features[0, : index + 1]
    trace *= discount
    trace += features[0]
    target += float(run.block("rewards")[0]) * trace


def add_reward(run: Run, rewards: Doubles, totals: Doubles, discount: float) -> None:
    """Add the reward of the time step in work to what tells whether all actions were rewarded alike.

    Args:
        run: The time step in work.
        rewards: ``REWARD_MOMENTS`` numbers.
        totals: The sum over episodes [time] of the rewards.
        discount: gamma.
    """
    reward = float(run.block("rewards")[0])
    count, mean, squares, energy, earned, weight = rewards.tolist()
    count += 1
    deviation = reward - mean
    mean += deviation / count
    squares += deviation * (reward - mean)
    # The returns of all steps so far grow by powers of gamma times the reward, and their squares so:
    weight = discount**2 * weight + 1
    energy += (2 * earned + weight * reward) * reward
    earned = discount * (earned + weight * reward)
    rewards[:] = count, mean, squares, energy, earned, weight
    totals[run.start] += reward


def begin_rewards(run: Run, rewards: Doubles) -> None:
    """Begin an episode: no reward of it has been earned."""
    rewards[4:] = 0


def mix(
    run: Run,
    weights: Doubles,
    moments: Doubles,
    rewards: Doubles,
    totals: Doubles,
    mixture: Doubles,
    discount: float,
    gae_lambda: float,
) -> None:
    """Find v divided by the deviation of the advantages; zero where all actions were rewarded alike.

    Args:
        run: The number of episodes.
        weights: The weights [feature] of the linear baseline.
        moments: The lower triangle of sum_t x_t x_t^T.
        rewards: ``REWARD_MOMENTS`` numbers.
        totals: The sum over episodes [time] of the rewards, which become returns.
        mixture: The result [column].
        discount: gamma.
        gae_lambda: lambda.

    Raises:
        Refusal: If the advantages are not finite, because rewards or observations are too large.
    """
    count = len(weights)
    np.negative(weights, out=mixture[:count])
    mixture[count:] = 0
    mixture[count] = 1
    one = len(mixture) - 1 if len(mixture) > count + 1 else count - 1
    number = _element(moments, one, one)
    mean = sum(_element(moments, one, column) * value for column, value in enumerate(mixture.tolist())) / number
    mixture[one] -= mean
    squares = sum(
        value
        * (
            2 * float(moments[triangle(row) : triangle(row + 1)] @ mixture[: row + 1])
            - _element(moments, row, row) * value
        )
        for row, value in enumerate(mixture.tolist())
    )
    if not math.isfinite(squares):
        raise Refusal("the advantages are not finite: the rewards or observations are too large")
    if _alike(run, rewards, totals, discount):
        mixture.fill(0)
    else:
        mixture /= max(math.sqrt(max(squares, 0) / number), SMALLEST_DEVIATION)


def _alike(run: Run, rewards: Doubles, totals: Doubles, discount: float) -> bool:
    """Return whether all actions were rewarded alike, as ``metarl.policies.advantages.tell_nothing`` judges."""
    count, mean, squares, energy, *_ = rewards.tolist()
    if run.episodes == 1:
        return bool(squares <= MIN_SPREAD**2 * (squares + count * mean**2))
    for time in reversed(range(len(totals) - 1)):
        totals[time] += discount * totals[time + 1]
    return bool(energy - float(totals @ totals) / run.episodes <= MIN_SPREAD**2 * energy)


def _element(moments: Doubles, row: int, column: int) -> float:
    return float(moments[triangle(max(row, column)) + min(row, column)])


def combine(run: Run, traces: FloatArray, mixture: Doubles) -> None:
    """Replace the eligibility by the gradient, the sum over columns of v_j sum_u e_u z_u[j]."""
    np.einsum("jn,j->n", traces[1:], mixture, out=traces[0], casting="same_kind")


def add_context_gradient(run: Run, layer: DeviceLayer, total: FloatArray, eligibility: FloatArray) -> None:
    """Add C^T g(b) to the eligibility of a context [context]."""
    eligibility += total @ layer.context_weight


def update_streamed_context(
    run: Run, layer: DeviceLayer, eligibility: FloatArray, total: FloatArray, step_size: float
) -> None:
    """Turn the gradient of a context phi into its change, and that into the change of the bias, C times it.

    Args:
        run: The number of time steps.
        layer: The layer, with the matrix C [output, context].
        eligibility: The gradient of phi [context].
        total: The change of the bias [output].
        step_size: alpha.
    """
    eligibility *= -step_size * run.gate / run.steps
    run.adapted[layer.stated.context_name] += eligibility
    np.matmul(layer.context_weight, eligibility, out=total)
