"""``metarl render``: an animation of one episode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from metarl import api
from metarl.core.errors import Refusal
from metarl.core.text import plural
from metarl.experiments.analysis.animation import animation_limits, side_by_side, write_animation
from metarl.experiments.analysis.rendering import film, use_opengl_without_display
from metarl.experiments.console.constructors import ControllerFile, Family
from metarl.experiments.console.families import family_for
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import check_new_file, parse, parse_task, require_at_least
from metarl.experiments.console.progress import number
from metarl.experiments.console.suggestions import task_words
from metarl.policies.loading import load_controller
from metarl.rl.evaluation import family_of

WHEN = ("before", "after")


@dataclass(frozen=True)
class Render:
    """Make a GIF or MP4 of one episode, without exploration noise; the controller is adapted to the task first."""

    controller: ControllerFile
    """The controller's file, its run's folder, or FAMILY/METHOD of one that ships with metarl."""
    out: Path
    """File to write, which must be new and end in .gif or .mp4."""
    task: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE [NAME=VALUE ...]", help_behavior_hint="")] = ()
    """The task, e.g. target_velocity=1.5; an adapted controller's own task if left out."""
    adapt: bool = True
    """Adapt the controller first. A controller that is adapted already stays as it is."""
    compare: bool = False
    """Show the episode before and after the adaptation side by side."""
    seed: int = 1
    """Seed of the adaptation and of the episode."""
    family: Family = None
    """Task family; needed where the controller was trained on one of your own (module:attribute)."""

    def __post_init__(self) -> None:
        require_at_least(0, seed=self.seed)
        if self.compare and not self.adapt:
            raise Refusal("--compare shows what the adaptation changes: leave out --no-adapt")


def main(arguments: Sequence[str]) -> None:
    """Run the command; raise Refusal if its arguments cannot be used."""
    command = parse(Render, arguments, "metarl render")
    check_new_file(command.out)
    limits = animation_limits(command.out)
    use_opengl_without_display()
    controller = load_controller(command.controller)
    family = family_of(controller, family_for(controller, command.family))
    adapted_to = controller.metadata.adapted_to
    if command.compare and adapted_to is not None:
        raise Refusal("--compare needs a controller that is not adapted yet")
    task = family.task_dict(family.task_array(parse_task(command.task) or adapted_to or {}))
    adapted = controller
    if command.adapt and adapted_to is None:
        adapted = api.adapt(controller, task, seed=command.seed, family=family)
    after = film(adapted, family, task, command.seed, *limits)
    told = f"return {number(sum(after.rewards))} in {plural(len(after.rewards), 'step')}"
    if command.compare:
        before = film(controller, family, task, command.seed, *limits)
        returns = [number(sum(each.rewards)) for each in (before, after)]
        captions = [f"{when} adaptation: return {each}" for when, each in zip(WHEN, returns, strict=True)]
        write_animation(side_by_side([before, after], captions), command.out)
        told = f"return {returns[0]} before and {returns[1]} after adaptation"
    else:
        write_animation(after, command.out)
    state = "not adapted" if adapted is controller else "adapted first"
    if adapted_to is not None:
        state = f"adapted to {' '.join(task_words(family, adapted_to)) or 'an unnamed task'}"
    Terminal().print(
        f"{' '.join(task_words(family, task))}, controller {state}: {told}; animation: {command.out}", soft_wrap=True
    )
