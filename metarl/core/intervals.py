"""Means over tasks with their 95 % intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Interval:
    """A mean over tasks and half the width of its 95 % interval."""

    mean: float
    ci95: float


def interval_over_tasks(values: Tensor) -> Interval:
    """Of one value per task [task]; the half-width of a single task is nan."""
    spread = float(values.std()) if len(values) > 1 else math.nan
    return Interval(float(values.mean()), 1.96 * spread / math.sqrt(len(values)))
