"""A family whose tasks have moved: other ranges of its task fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from metarl.core.errors import Refusal
from metarl.envs.family import TaskFamily, TaskField, TaskSampler, sample_fields


def with_ranges(family: TaskFamily, fields: Sequence[TaskField]) -> TaskFamily:
    """Return the family with other ranges or choices of some of its fields, drawn uniformly.

    Raises:
        Refusal: If the family has no field of that name, or draws its tasks in a way of its own.
    """
    if not fields:
        return family
    new = {field.name: field for field in fields}
    names = [field.name for field in family.fields]
    for name in new:
        if name not in names:
            raise Refusal(f"{family.name} has no task field '{name}': it has {', '.join(names)}")
    sample = family.sample_tasks.function if isinstance(family.sample_tasks, TaskSampler) else family.sample_tasks
    if not (isinstance(sample, partial) and sample.func is sample_fields):
        raise Refusal(f"{family.name} draws its tasks in a way of its own, and other ranges say nothing of it")
    replaced = tuple(
        replace(new[field.name], unit=field.unit) if field.name in new else field for field in family.fields
    )
    return replace(family, fields=replaced, sample_tasks=partial(sample_fields, replaced))
