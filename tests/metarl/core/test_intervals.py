"""Intervals by Student's t: quantiles of printed tables, an independent beta function, and how often they hold."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch

from metarl.core.intervals import (
    Interval,
    interval_on_shared_tasks,
    interval_over_seeds,
    interval_over_tasks,
    student_t,
)


@pytest.mark.parametrize(
    ("degrees", "quantile"),
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (30, 2.042), (120, 1.980), (10**7, 1.960)],
)
def test_quantiles_are_those_of_printed_tables(degrees: int, quantile: float) -> None:
    assert student_t(degrees) == pytest.approx(quantile, abs=5e-4)


@pytest.mark.parametrize("degrees", [*range(1, 40), 99, 100, 399, 998, 999, 1000, 1001, 4999])
def test_the_tails_outside_a_quantile_hold_one_in_twenty(degrees: int) -> None:
    t = student_t(degrees)
    tails = mpmath.betainc(degrees / 2, 0.5, 0, degrees / (degrees + t * t), regularized=True)
    assert float(tails) == pytest.approx(0.05, rel=1e-9)


def test_an_interval_worked_by_hand() -> None:
    # The deviations of 1, 2, 6 from their mean 3 have squares 4, 1, 9: the standard deviation is the root of 14 / 2.
    interval = interval_over_tasks(torch.tensor([1.0, 2.0, 6.0], dtype=torch.float64))
    assert interval.mean == 3.0
    assert interval.ci95 == pytest.approx(4.30265 * math.sqrt(7) / math.sqrt(3), rel=1e-5)


def test_a_single_task_has_no_interval() -> None:
    assert math.isnan(interval_over_tasks(torch.tensor([2.0])).ci95)


@pytest.mark.parametrize("tasks", [2, 3, 5])
def test_intervals_of_few_tasks_hold_the_mean_in_95_of_100_cases(tasks: int) -> None:
    samples = torch.randn(4000, tasks, generator=torch.Generator().manual_seed(0))
    hits = [abs(interval.mean) <= interval.ci95 for interval in map(interval_over_tasks, samples)]
    assert sum(hits) / len(hits) == pytest.approx(0.95, abs=0.012)


def test_an_interval_over_seeds_covers_seeds_and_tasks() -> None:
    """Means 1, 3 and 5: S = 2, t(2) = 4.302653. Of equal means the errors over tasks remain."""
    wide = interval_over_seeds([Interval(mean, 0.1) for mean in (1.0, 3.0, 5.0)], [400] * 3)
    assert wide.mean == 3 and wide.ci95 == pytest.approx(4.302653 * 2 / 3**0.5, rel=1e-6)
    alike = interval_over_seeds([Interval(3.0, 0.5 * student_t(9)), Interval(3.0, 0.5 * student_t(19))], [10, 20])
    assert alike.mean == 3 and alike.ci95 == pytest.approx(student_t(1) * 0.5 / 2**0.5)
    assert interval_over_seeds([Interval(2.0, 0.7)], [400]) == Interval(2.0, 0.7)


def test_seeds_on_shared_tasks_do_not_make_the_tasks_interval_narrower() -> None:
    assert interval_on_shared_tasks([Interval(-2.0, 3.0)]) == Interval(-2.0, 3.0)
    alike = interval_on_shared_tasks([Interval(-2.0, 3.0), Interval(-2.0, 5.0)])
    assert alike == Interval(-2.0, 4.0)
    # Means -1 and -3: S = sqrt(2), t_1 = 12.706, and 12.706 * sqrt(2) / sqrt(2) = 12.706.
    apart = interval_on_shared_tasks([Interval(-1.0, 4.0), Interval(-3.0, 4.0)])
    assert apart.mean == -2.0
    assert apart.ci95 == pytest.approx(math.hypot(4.0, 12.706), abs=1e-3)


def test_an_interval_over_seeds_holds_the_truth_as_often_as_it_says() -> None:
    """Means that deviate by 3 between seeds and by 1 over tasks: 95 of 100 intervals hold the truth, or a few more."""
    random = np.random.default_rng(0)
    hits = 0
    for _ in range(1000):
        means = random.normal(0, 3, 3)
        tasks = means[:, None] + random.normal(0, 10, (3, 100))
        found = interval_over_seeds([interval_over_tasks(torch.from_numpy(each)) for each in tasks], [100] * 3)
        hits += abs(found.mean) <= found.ci95
    assert 940 <= hits <= 985
