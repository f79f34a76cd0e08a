"""Families with other ranges of their fields."""

import numpy as np
import pytest

from metarl.core.errors import Refusal
from metarl.envs.family import TaskField
from metarl.envs.ranges import with_ranges
from metarl.envs.registry import get_family


def test_tasks_come_from_the_new_range_and_other_fields_stay() -> None:
    family = get_family("half-cheetah-velocity")
    faster = with_ranges(family, [TaskField("target_velocity", 2, 3)])
    tasks = faster.sample_tasks(50, np.random.default_rng(0))
    assert tasks.min() >= 2 and tasks.max() <= 3 and tasks.max() > 2.8
    assert faster.fields == (TaskField("target_velocity", 2, 3, unit="m/s"),)
    assert family.fields[0].high == 2 and with_ranges(family, []) is family
    simulator = faster.make_simulator(1)
    simulator.close()


def test_unknown_fields_and_own_samplers_are_told() -> None:
    with pytest.raises(Refusal, match="no task field 'speed': it has target_velocity"):
        with_ranges(get_family("half-cheetah-velocity"), [TaskField("speed", 0, 3)])
    with pytest.raises(Refusal, match="in a way of its own"):
        with_ranges(get_family("half-cheetah-dynamics"), [get_family("half-cheetah-dynamics").fields[0]])
