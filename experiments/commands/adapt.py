"""``metarl adapt``: a few episodes of one task, and the controller after its inner steps on them.

With ``--check`` fresh episodes tell whether that controller is the better one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from metarl import api
from metarl.core.text import plural
from metarl.core.threads import available_threads
from metarl.experiments.console.constructors import ControllerFile, Family, Maybe
from metarl.experiments.console.families import family_for
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import check_new_file, parse, parse_task, require_at_least
from metarl.experiments.console.progress import number
from metarl.policies.files.pretrained import SUFFIX
from metarl.policies.loading import load_controller
from metarl.rl.checking import FEWEST_EPISODES, Check
from metarl.rl.variation import varied
from metarl.runs.folder import CONTROLLER


@dataclass(frozen=True)
class Adapt:
    """Adapt a controller to one task and write the adapted controller."""

    controller: ControllerFile
    """The controller's file, its run's folder, or FAMILY/METHOD of one that ships with metarl."""
    task: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE [NAME=VALUE ...]")]
    """The task, e.g. target_velocity=1.5."""
    subnet: Maybe[int] = None
    """Which subnet of a nested controller, 1 the densest."""
    out: Maybe[Path] = None
    """File to write, which must be new; beside the controller's file and named after the task if left out."""
    horizon: Maybe[int] = None
    """Time steps in an episode; as in the training if left out."""
    episodes: Maybe[int] = None
    """Episodes in an inner step; as in the training if left out."""
    inner_steps: Maybe[int] = None
    """Inner steps; as in the training if left out. Steps beyond those repeat the last one."""
    check: Maybe[int] = None
    """Fresh episodes before and after the adaptation; the better controller of the two is written."""
    seed: int = 1
    """Seed of the episodes."""
    family: Family = None
    """Task family; needed where the controller was trained on one of your own (module:attribute)."""
    threads: int = available_threads()
    """Threads of the simulator."""

    def __post_init__(self) -> None:
        require_at_least(0, seed=self.seed)
        counts = ("horizon", "episodes", "inner_steps", "threads")
        require_at_least(1, **{name: getattr(self, name) for name in counts})
        require_at_least(FEWEST_EPISODES, check=self.check)


def main(arguments: Sequence[str]) -> None:
    """Run the command; raise Refusal saying what is wrong with its arguments."""
    command = parse(Adapt, arguments, "metarl adapt")
    task = parse_task(command.task)
    controller = load_controller(command.controller, command.subnet)
    controller = varied(controller, command.horizon, command.episodes, command.inner_steps)
    family = family_for(controller, command.family)
    out = command.out or named_after(command.controller, task)
    check_new_file(out)
    adapted, evaluation = api.adapt_and_evaluate(
        controller,
        task,
        seed=command.seed,
        family=family,
        threads=command.threads,
    )
    episodes = adapted.metadata.episodes_per_step
    console = Terminal()
    for steps, each in enumerate(evaluation.intervals()):
        console.print(
            f"return after {plural(steps, 'inner step')}: {number(each.mean)} ({plural(episodes, 'episode')})"
        )
    kept, what = adapted, "adapted controller"
    if command.check:
        check = api.compare(
            controller, adapted, command.check, seed=command.seed, family=family, threads=command.threads
        )
        console.print(check_sentence(check), soft_wrap=True)
        if not check.keeps_adapted:
            kept, what = controller, "controller as it was before adaptation"
    kept.save(out)
    console.print(f"{what}: {out}", soft_wrap=True)


def check_sentence(check: Check) -> str:
    """Return what fresh episodes say of an adaptation, and which controller is therefore kept."""
    gain, kept = check.gain, "after" if check.keeps_adapted else "before"
    before, after = (number(float(returns.mean())) for returns in (check.before, check.after))
    doubt = "" if check.is_clear else " (the interval holds 0: more episodes would tell more)"
    return (
        f"{plural(len(check.after), 'fresh episode')} each: return {before} before and {after} after, a gain of "
        f"{number(gain.mean)} ± {number(gain.ci95)}, so the controller {kept} adaptation is kept{doubt}"
    )


def named_after(controller: Path, task: Mapping[str, float]) -> Path:
    """Return ``controller-target_velocity=1.5.safetensors`` for ``controller.safetensors`` or its run's folder.

    A controller that ships has no place for the user's files: ``FAMILY-METHOD-...`` in the current folder.
    """
    if controller.is_dir():
        controller = controller / CONTROLLER
    if not controller.is_file():
        controller = Path("-".join(controller.parts) + SUFFIX)
    values = "-".join(f"{name}={value:g}" for name, value in task.items())
    return controller.with_name(f"{controller.stem}-{values}{controller.suffix}")
