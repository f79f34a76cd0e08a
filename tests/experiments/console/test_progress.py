"""What a training shows while it runs."""

from __future__ import annotations

import math

import pytest

from metarl.experiments.console.progress import clock_time, number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-13.304, "-13.30"),
        (99.994, "99.99"),
        (-150.06, "-150.1"),
        (0.0, "0.00"),
        (0.00123456, "0.00123"),
        (-1e300, "-1e+300"),
        (math.nan, "nan"),
    ],
)
def test_returns_keep_four_digits(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00:00"), (59.6, "0:01:00"), (3605, "1:00:05")])
def test_clock_time(seconds: float, text: str) -> None:
    assert clock_time(seconds) == text
