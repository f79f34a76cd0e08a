"""Suggested commands: what is printed is what the shell and the family take."""

from __future__ import annotations

import shlex
from dataclasses import replace

import numpy as np
import pytest

from metarl.envs.family import TaskFamily, TaskField
from metarl.envs.registry import get_family
from metarl.experiments.console.suggestions import command_line, example_task, own_family, task_words


def family_with(*fields: TaskField) -> TaskFamily:
    return replace(get_family("navigation-2d"), fields=fields)


@pytest.mark.parametrize("path", ["run [bold]x", "run:smile:", "it's", "$HOME", "a;b", "plain"])
def test_words_are_quoted_for_the_shell(path: str) -> None:
    line = command_line("adapt", path, "--task", "goal=0.1")
    assert shlex.split(line) == ["metarl", "adapt", path, "--task", "goal=0.1"]
    assert "'goal" not in line


@pytest.mark.parametrize(
    ("field", "value", "word"),
    [
        (TaskField("goal", -1, 1), 0.123456, "goal=0.123"),
        (TaskField("goal", 0.001, 0.004), 0.00234567, "goal=0.00235"),
        (TaskField("goal", 0, 0.99949), 0.99949, "goal=0.999"),
        (TaskField("goal", 0, 0.99951), 0.99951, "goal=0.9995"),
        (TaskField("goal", 1 / 3, 2), 1 / 3, "goal=0.3333333333333333"),
        (TaskField("goal", -1, 1, choices=(0.125, 0.375)), 0.375, "goal=0.375"),
        (TaskField("goal", -1, 1, choices=(1 / 3, 0.34)), 1 / 3, "goal=0.3333333333333333"),
        (TaskField("goal", 0, 1e7), 1234567.0, "goal=1.23e+06"),
    ],
)
def test_a_value_has_the_digits_that_its_field_needs(field: TaskField, value: float, word: str) -> None:
    assert task_words(family_with(field), {"goal": value}) == [word]


@pytest.mark.parametrize("name", ["navigation-2d", "half-cheetah-velocity", "half-cheetah-direction"])
def test_an_example_is_a_task_of_the_family(name: str) -> None:
    family = get_family(name)
    task = dict(word.split("=") for word in example_task(family))
    assert np.isfinite(family.task_array({field: float(value) for field, value in task.items()})).all()
    assert own_family(family) == ()


def test_a_family_of_ones_own_is_named() -> None:
    assert own_family(replace(get_family("navigation-2d"), name="mine:goal")) == ("--family", "mine:goal")
