"""``metarl render``: a GIF of one episode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from gymnasium.error import Error

from metarl import api
from metarl.core.errors import Refusal
from metarl.envs.family import TaskFamily
from metarl.experiments.analysis.rendering import Moment, play, write_gif
from metarl.experiments.console.families import family_for
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import check_new_file, parse, parse_task, require_at_least
from metarl.experiments.console.progress import number
from metarl.policies.controller import Controller
from metarl.policies.loading import load_controller
from metarl.rl.evaluation import family_of

FRAMES_PER_SECOND = 20  # of an environment that does not say


@dataclass(frozen=True)
class Render:
    """Make a GIF of one episode, without exploration noise; the controller is adapted to the task first."""

    controller: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CONTROLLER")]
    """The controller's file, or FAMILY/METHOD of one that ships with metarl."""
    out: Path
    """GIF to write, which must be new."""
    task: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE [NAME=VALUE ...]")] = ()
    """The task, e.g. target_velocity=1.5; an adapted controller's own task if left out."""
    adapt: bool = True
    """Adapt the controller first. A controller that is adapted already stays as it is."""
    seed: int = 1
    """Seed of the adaptation and of the episode."""
    family: str | None = None
    """Task family; needed where the controller was trained on one of your own (module:attribute)."""

    def __post_init__(self) -> None:
        require_at_least(0, seed=self.seed)


def main(arguments: Sequence[str]) -> None:
    """Runs the command; ValueError says what is wrong with its arguments."""
    command = parse(Render, arguments, "metarl render")
    check_new_file(command.out)
    if command.out.suffix.lower() != ".gif":
        raise Refusal(f"--out must be a file that ends in .gif, got {command.out}")
    controller = load_controller(command.controller)
    metadata = controller.metadata
    family = family_of(controller, family_for(controller, command.family))
    task = parse_task(command.task) or metadata.adapted_to or {}
    task = family.task_dict(family.task_array(task))
    adapted_to = metadata.adapted_to
    state = "not adapted" if adapted_to is None else f"adapted to {values(adapted_to) or 'an unnamed task'}"
    if command.adapt and adapted_to is None:
        controller = api.adapt(controller, task, seed=command.seed, family=family)
        state = "adapted first"
    moments, frames_per_second = filmed(controller, family, task, command.seed)
    write_gif([moment.frame for moment in moments if moment.frame is not None], frames_per_second, command.out)
    total = sum(moment.reward for moment in moments)
    Terminal().print(
        f"{values(task)}, controller {state}: return {number(total)} in {len(moments)} steps; animation: {command.out}",
        soft_wrap=True,
    )


def filmed(controller: Controller, family: TaskFamily, task: dict[str, float], seed: int) -> tuple[list[Moment], float]:
    """An episode with its pictures, and how many of them make a second."""
    try:
        env = family.make_env(render_mode="rgb_array")
        try:
            moments = list(play(controller, env, task, seed, family.horizon))
        finally:
            env.close()
    except Error as error:
        raise Refusal(f"{family.name} cannot be rendered: {error}") from None
    if any(moment.frame is None for moment in moments):
        raise Refusal(f"{family.name} cannot be rendered: its environment makes no 'rgb_array' pictures")
    return moments, env.metadata.get("render_fps", FRAMES_PER_SECOND)


def values(task: dict[str, float]) -> str:
    """A task as one types it."""
    return " ".join(f"{name}={value:g}" for name, value in task.items())
