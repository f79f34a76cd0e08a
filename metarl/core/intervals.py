"""Means over tasks, and over seeds of a training, with their 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from torch import Tensor

CONFIDENCE = 0.95
MANY = 1000  # degrees of freedom from which on the asymptotic expansion is exact to ten digits
NORMAL_QUANTILE = 1.959963984540054  # at (1 + CONFIDENCE) / 2


@dataclass(frozen=True)
class Interval:
    """A mean over tasks and half the width of its 95 % interval."""

    mean: float
    ci95: float


def interval_over_tasks(values: Tensor) -> Interval:
    """Return the mean of one value per task [task] and its interval by Student's t.

    The half-width of a single task is nan.
    """
    count = len(values)
    if count < 2:
        return Interval(float(values.mean()), math.nan)
    return Interval(float(values.mean()), student_t(count - 1) * float(values.std()) / math.sqrt(count))


def interval_over_seeds(intervals: Sequence[Interval], tasks: Sequence[int]) -> Interval:
    """Return the mean over n trainings, and an interval that covers both their seeds and the tasks they were tested on.

    The means m_i of the trainings deviate by their seeds and by their tasks, if each was tested on tasks of its own.
    The half-width is t_{n-1} sqrt(max(S^2, E) / n): S^2 is the variance of the m_i, which estimates the variance
    between seeds plus that of a mean over tasks; E, the mean of the squared standard errors over tasks, is the latter
    alone, so that a small S^2 of few seeds does not claim more than the tasks allow.

    Args:
        intervals: Mean and interval over tasks of each training.
        tasks: The number of tasks behind each.

    Returns:
        The mean of the means with its interval; of one training, its own.
    """
    if len(intervals) == 1:
        return intervals[0]
    count = len(intervals)
    mean = sum(each.mean for each in intervals) / count
    between = sum((each.mean - mean) ** 2 for each in intervals) / (count - 1)
    errors = [each.ci95 / student_t(number - 1) for each, number in zip(intervals, tasks, strict=True)]
    within = sum(error**2 for error in errors) / count
    return Interval(mean, student_t(count - 1) * math.sqrt(max(between, within) / count))


def interval_on_shared_tasks(intervals: Sequence[Interval]) -> Interval:
    """Return the mean over n seeds that were all tested on the same tasks, and an interval for both.

    Each interval covers the tasks alone, and more seeds do not make it narrower, as they share the tasks. The mean of
    these half-widths and that over seeds, t_{n-1} S / sqrt(n), add up in squares.
    """
    count = len(intervals)
    mean = sum(each.mean for each in intervals) / count
    tasks = sum(each.ci95 for each in intervals) / count
    if count == 1:
        return Interval(mean, tasks)
    deviation = math.sqrt(sum((each.mean - mean) ** 2 for each in intervals) / (count - 1))
    return Interval(mean, math.hypot(tasks, student_t(count - 1) * deviation / math.sqrt(count)))


@cache
def student_t(degrees: int) -> float:
    """Return the 97.5 % quantile of Student's t distribution: 12.706 for 1 degree of freedom, 1.96 for infinitely many.

    Newton's method on the closed form of the distribution function for whole degrees of freedom (Abramowitz and Stegun,
    26.7.3 and 26.7.4). For many degrees the expansion around the normal quantile (ibid., 26.7.5) takes its place.
    """
    if degrees >= MANY:
        return _expanded_quantile(degrees)
    log_scale = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2) - math.log(degrees * math.pi) / 2
    # The probability of [-t, t] is concave in t, so Newton's method climbs to the root from below.
    t, change = NORMAL_QUANTILE, 1.0
    while change > 1e-12 * t:
        density = 2 * math.exp(log_scale - (degrees + 1) / 2 * math.log1p(t * t / degrees))
        change = (CONFIDENCE - _probability_within(t, degrees)) / density
        t += change
    return t


def _probability_within(t: float, degrees: int) -> float:
    """Return the probability of [-t, t] (26.7.3 for odd degrees of freedom, 26.7.4 for even ones)."""
    angle = math.atan(t / math.sqrt(degrees))
    cosine = math.cos(angle)
    odd = degrees % 2
    total = term = cosine if odd else 1.0
    for k in range(2 if odd else 1, degrees - 2, 2):
        term *= cosine * cosine * k / (k + 1)
        total += term
    if odd:
        return 2 / math.pi * (angle + math.sin(angle) * (total if degrees > 1 else 0.0))
    return math.sin(angle) * total


def _expanded_quantile(degrees: int) -> float:
    z, n = NORMAL_QUANTILE, degrees
    return (
        z
        + (z**3 + z) / (4 * n)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
    )
