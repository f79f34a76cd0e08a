"""Families named on the command line: a registered environment and the numbers of it that make a task.

``gym:Pendulum-v1,g=5:15`` is Gymnasium's pendulum with a gravity from 5 to 15, ``gym:Pendulum-v1,m=1/2`` one with the
masses 1 and 2; each field is an attribute of ``env.unwrapped``. ``gym:gymnasium_robotics:FetchReach-v4`` imports the
package first that registers the environment.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import gymnasium

from metarl.core.errors import Refusal
from metarl.core.user_code import imported
from metarl.envs.family import TaskFamily, TaskField
from metarl.envs.from_gymnasium.definition import task_family
from metarl.envs.from_gymnasium.source import Env, Task, made

PREFIX = "gym:"
HORIZON = 200  # of an environment that states no time limit


def registered(name: str) -> TaskFamily:
    """Return the family that a name like ``gym:Pendulum-v1,g=5:15`` describes; raise Refusal if there is none."""
    environment, *texts = name.removeprefix(PREFIX).split(",")
    spec = find_spec(environment)
    make_env = partial(gymnasium.make, spec.id)
    fields = [parse_field(text) for text in texts]
    env = made(environment, make_env)
    numbers = attributes(env)
    env.close()
    for field in fields:
        if field.name not in numbers:
            raise Refusal(f"{environment} has no number '{field.name}': its task fields may be {', '.join(numbers)}")
    if not fields:
        raise Refusal(f"{name} needs a task field, as in --field {example(numbers)}: {', '.join(numbers)} can be one")
    return task_family(name, make_env, fields, spec.max_episode_steps or HORIZON, set_attributes)


def with_fields(name: str, texts: Sequence[str]) -> str:
    """Return the name of a family with task fields such as ``g=5:15``; raise Refusal if it takes none."""
    if texts and not name.startswith(PREFIX):
        raise Refusal(f"{name} has its own task fields: --field is for environments of Gymnasium, {PREFIX}ID")
    return ",".join([name, *texts])


def find_spec(environment: str) -> Any:
    """Return the specification of a registered environment; raise Refusal with Gymnasium's own suggestion."""
    module, _, identifier = environment.rpartition(":")
    if module:
        imported(environment, module)
    try:
        return gymnasium.spec(identifier)
    except gymnasium.error.Error as error:
        raise Refusal(f"Gymnasium cannot make {environment}: {error}") from None


def parse_field(text: str) -> TaskField:
    """Return the task field of ``g=5:15``, an interval, or ``m=1/2``, choices."""
    name, _, values = text.partition("=")
    separator = "/" if "/" in values else ":"
    try:
        numbers = tuple(float(value) for value in values.split(separator))
    except ValueError:
        numbers = ()
    if len(numbers) < 2 or (separator == ":" and len(numbers) > 2):
        raise Refusal(f"a task field is written NAME=LOW:HIGH or NAME=VALUE/VALUE, e.g. g=5:15, got '{text}'")
    if separator == "/":
        return TaskField(name, min(numbers), max(numbers), choices=numbers)
    return TaskField(name, numbers[0], numbers[1])


def attributes(env: Env) -> dict[str, float]:
    """Return the numbers among the public attributes of an environment, by name."""
    return {
        name: float(value)
        for name, value in sorted(vars(env.unwrapped).items())
        if isinstance(value, int | float) and not isinstance(value, bool) and not name.startswith("_")
    }


def example(numbers: dict[str, float]) -> str:
    """Return a task field as one types it, around the value that an attribute has."""
    name, value = next(((name, value) for name, value in numbers.items() if value), ("NAME", 0.0))
    low, high = sorted((value / 2, value * 1.5))
    return f"{name}={low:g}:{high:g}" if value else f"{name}=LOW:HIGH"


def set_attributes(env: Env, task: Task) -> None:
    """Give an environment its task: each field is an attribute of it."""
    for name, value in task.items():
        setattr(env.unwrapped, name, value)
