"""What the kinds of ``metarl update`` share: the tasks that robots meet now, and the ways of updating to compare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import tyro

from metarl.core.errors import Refusal
from metarl.envs.family import TaskFamily
from metarl.envs.from_gymnasium.registered import parse_field
from metarl.envs.ranges import with_ranges
from metarl.experiments.console.families import family_for
from metarl.fleet.simulation import Strategy
from metarl.policies.controller import Controller
from metarl.rl.evaluation import family_of

Strategies = Annotated[tuple[Strategy, ...], tyro.conf.arg(metavar="STRATEGY [STRATEGY ...]")]
COMPARED: tuple[Strategy, ...] = ("combined", "full", "random", "global", "pruning")  # if none are named


def require_strategies(strategies: Sequence[Strategy]) -> None:
    """Raise Refusal if no way of updating is named."""
    if not strategies:
        raise Refusal("strategies must name at least one way of updating")


def family_now(controller: Controller, family: str | None, fields: Sequence[str]) -> TaskFamily:
    """Return the family whose tasks robots meet now, as the controller sees it.

    Args:
        controller: What robots have.
        family: The name of the family of its tasks; None for that of its training.
        fields: Ranges of task fields that have changed, NAME=LOW:HIGH.
    """
    ranges = [parse_field(text) for text in fields]
    return family_of(controller, with_ranges(family_for(controller, family), ranges))
