"""What a task family and its fields refuse, and what they accept."""

from dataclasses import replace

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiBinary
from point_family import point_family

from metarl.envs.family import TaskField


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("goal x", 0, 1), "must be an identifier such as target_velocity.*got 'goal x'"),
        (("goal=x", 0, 1), "must be an identifier"),
        (("", 0, 1), "must be an identifier"),
        ((3, 0, 1), "must be an identifier.*got 3"),
        (("goal", 0, np.inf), "the high bound of task field 'goal' must be a finite number, got inf"),
        (("goal", np.nan, 1), "the low bound of task field 'goal' must be a finite number, got nan"),
        (("goal", "slow", 1), "the low bound of task field 'goal' must be a finite number, got 'slow'"),
        (("goal", 1, -1), r"the low bound of task field 'goal' must not be above the high one, got \[1, -1\]"),
        (("goal", -1, 1, "", (3, 4)), r"the choices of task field 'goal' must lie in \[-1, 1\], got 3, 4"),
        (("goal", -1, 1, "", (0, np.nan)), "a choice of task field 'goal' must be a finite number, got nan"),
        (("goal", -1, 1, "", (0, 0.0)), "task field 'goal' has a choice twice: 0, 0"),
        (("goal", -1, 1, "", []), r"task field 'goal' has no choices: leave choices out for every value of \[-1, 1\]"),
    ],
)
def test_fields_that_are_refused(arguments: tuple, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        TaskField(*arguments)


def test_numbers_of_any_kind_become_floats() -> None:
    field = TaskField("goal", np.int64(-1), np.float32(2), choices=[0, np.float64(1)])
    assert (field.low, field.high, field.choices) == (-1.0, 2.0, (0.0, 1.0))
    assert {type(value) for value in (field.low, field.high, *field.choices)} == {float}
    assert hash(field) == hash(TaskField("goal", -1, 2, choices=(0, 1)))


GOAL, SPEED = TaskField("goal", -1, 1), TaskField("speed", 0, 1)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"fields": ()}, "the task family point has no task fields"),
        ({"fields": (GOAL, SPEED, TaskField("goal", 5, 6))}, "the task family point has two task fields named 'goal'"),
        ({"fields": GOAL}, r"must be a tuple of TaskFields, got one alone: write \(field,\)"),
        ({"fields": 3}, "must be a tuple of TaskFields, got 3"),
        ({"fields": ("goal",)}, "the fields of the task family point must be TaskFields, got 'goal'"),
        ({"horizon": 0}, "the horizon of the task family point must be a whole number of at least 1, got 0"),
        ({"horizon": 1.5}, "the horizon of the task family point must be .*, got 1.5"),
        ({"horizon": True}, "the horizon of the task family point must be .*, got True"),
        ({"name": ""}, "the name of a task family must be text .*, got ''"),
        (
            {"observation_space": Discrete(2)},
            r"the observation space .* must be a Box with one axis, got Discrete\(2\)",
        ),
        ({"observation_space": Box(-1, 1, (2, 2))}, "the observation space .* must be a Box with one axis"),
        ({"observation_space": Box(-1, 1, (0,))}, "the observation space .* must be a Box with one axis"),
        ({"action_space": Box(-np.inf, 1, (1,))}, "the action space of the task family point must have finite bounds"),
        ({"action_space": Box(1, 1, (1,))}, "the lower bounds of the actions .* must be below the upper ones"),
        (
            {"action_space": MultiBinary(2)},
            "action space .* must be a Box with one axis or Discrete, got MultiBinary",
        ),
        ({"action_space": Discrete(1)}, "a Discrete action space .* must have two actions or more, from 0 on, got"),
        ({"action_space": Discrete(3, start=1)}, r"two actions or more, from 0 on, got Discrete\(3, start=1\)"),
        ({"make_env": None}, "make_env of the task family point must be a function, got None"),
        ({"sample_tasks": 3}, "sample_tasks of the task family point must be a function, got 3"),
    ],
)
def test_families_that_are_refused(changes: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        replace(point_family(), **changes)


def test_a_list_of_fields_and_a_numpy_horizon_are_taken() -> None:
    family = replace(point_family(), fields=[GOAL, SPEED], horizon=np.int64(9))
    assert family.fields == (GOAL, SPEED)
    assert (family.horizon, type(family.horizon)) == (9, int)


@pytest.mark.parametrize(
    ("sample_tasks", "sentence"),
    [
        (lambda count, generator: np.zeros(count), r"of the shape \(3, 1\), \[task, field\], got the shape \(3,\)"),
        (lambda count, generator: np.zeros((1, 1)), r"of the shape \(3, 1\), \[task, field\], got the shape \(1, 1\)"),
        (lambda count, generator: None, "must return an array of numbers, got None|got the shape"),
        (lambda count, generator: [["far"]] * count, "sample_tasks of point must return an array of numbers"),
        (
            lambda count, generator: np.full((count, 1), 1.5),
            r"sample_tasks of point drew a task that is not allowed: .* 'target' of point must lie in \[-1, 1\]",
        ),
        (lambda count, generator: np.full((count, 1), np.nan), "drew a task that is not allowed: .* got nan"),
    ],
)
def test_tasks_that_no_field_allows(sample_tasks, sentence: str) -> None:
    family = replace(point_family(), sample_tasks=sample_tasks)
    with pytest.raises(ValueError, match=sentence):
        family.sample_tasks(3, np.random.default_rng(0))


def test_a_copy_checks_by_its_own_fields() -> None:
    family = replace(point_family(), sample_tasks=lambda count, generator: np.full((count, 1), 0.5))
    copy = replace(replace(family, name="copy"), fields=(TaskField("target", -0.25, 0.25),))
    assert family.sample_tasks(2, np.random.default_rng(0)).tolist() == [[0.5], [0.5]]
    with pytest.raises(ValueError, match=r"'target' of copy must lie in \[-0.25, 0.25\], got 0.5"):
        copy.sample_tasks(1, np.random.default_rng(0))
