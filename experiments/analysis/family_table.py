"""The table of task families: what is learned, what tells tasks apart, and the sizes of the spaces."""

from __future__ import annotations

import inspect

from metarl.envs.family import TaskField
from metarl.envs.registry import FAMILIES
from metarl.experiments.console.sheets import Sheet

CAPTION = """\
A range is what tasks are drawn from, uniformly; factors on masses, damping, friction and motors are drawn with a
uniform logarithm, goals of the ant uniformly in a disc. Actions are clipped to their limit. `metarl train FAMILY`
trains on any of them, and each is a Gymnasium environment: `ant-direction` is `metarl/AntDirection-v0`.

Finn et al. 2017: Model-Agnostic Meta-Learning. Rothfuss et al. 2019: ProMP. Rakelly et al. 2019: PEARL. Nagabandi et
al. 2019: Learning to Adapt in Dynamic, Real-World Environments. p-Meta: Qu et al. 2022."""


def families_sheet() -> Sheet:
    """Return a row per family; its words are the first sentence of the docstring in ``metarl.envs``."""
    rows = []
    for name, make in FAMILIES.items():
        family = make()
        low, high = family.action_bounds
        rows.append(
            [
                f"`{name}`",
                (inspect.getdoc(make) or "").partition("\n")[0].removesuffix("."),
                "; ".join(field_range(field) for field in family.fields),
                str(family.observation_space.shape[0]),
                str(len(low)),
                f"{high.max():g}",
                str(family.horizon),
            ]
        )
    headings = ["family", "what is learned", "task fields", "observations", "actions", "limit", "horizon"]
    return Sheet("Task families", headings, rows, words=3)


def field_range(field: TaskField) -> str:
    """Write a field's name and values, e.g. ``target_velocity in [0, 2] m/s``."""
    if field.choices:
        return f"`{field.name}` of {', '.join(f'{choice:g}' for choice in field.choices)}"
    return f"`{field.name}` in [{field.low:.3g}, {field.high:.3g}] {field.unit}".rstrip()
