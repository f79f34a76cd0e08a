"""Commands that metarl suggests, so that they work as they are printed."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from metarl.core.randomness import Purpose, generator
from metarl.envs.family import TaskFamily, TaskField

FEWEST_DIGITS, MOST_DIGITS = 3, 16


def command_line(*words: object) -> str:
    """Return ``metarl`` and the words after it, each quoted for the shell where it must be."""
    return shlex.join(["metarl", *map(str, words)])


def own_family(family: TaskFamily) -> tuple[str, ...]:
    """Return the words that name a family which is none of metarl's; a controller of metarl's names its own."""
    return ("--family", family.name) if ":" in family.name else ()


def example_task(family: TaskFamily) -> list[str]:
    """Return a task of the family as NAME=VALUE words."""
    return task_words(family, family.task_dict(family.sample_tasks(1, generator(0, Purpose.EVALUATION))[0]))


def task_words(family: TaskFamily, task: Mapping[str, float]) -> list[str]:
    """Return a task as NAME=VALUE words, with as few digits as the family's fields allow, but at least three."""
    return [f"{field.name}={_shortest(field, task[field.name])}" for field in family.fields]


def _shortest(field: TaskField, value: float) -> str:
    for digits in range(FEWEST_DIGITS, MOST_DIGITS + 1):
        text = f"{value:.{digits}g}"
        if float(text) in field.choices if field.choices else field.low <= float(text) <= field.high:
            return text
    return repr(float(value))
