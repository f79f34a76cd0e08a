"""``metarl sweep``: several methods x seeds, with one table of how they stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro

from metarl.core.errors import Refusal
from metarl.envs.registry import FAMILIES
from metarl.experiments.analysis import sweep
from metarl.experiments.analysis.sweep_status import status_display
from metarl.experiments.console.constructors import Maybe, Methods
from metarl.experiments.console.families import family_by_name, first_word, word_after
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import parse
from metarl.experiments.console.suggestions import command_line
from metarl.experiments.console.workers import WorkerOptions
from metarl.policies.methods import METHODS, REFERENCES
from metarl.rl.preset_file import preset_with
from metarl.rl.settings import TrainSettings
from metarl.runs.recorder import CheckpointSettings

DESCRIPTION = (
    "Meta-train with several methods and seeds, one after another or several at a time.\n\n"
    "The same command goes on with a sweep that was interrupted. What is finished is not computed again.\n\n"
    f"Task families: {', '.join(FAMILIES)}.\n\nMethods: {', '.join(METHODS)}; as references {', '.join(REFERENCES)}."
)


@dataclass(frozen=True)
class SharedSettings(TrainSettings):
    """The settings that all trainings of a sweep share: all but the method and the seed."""

    method: tyro.conf.Fixed[str] = "maml"
    seed: tyro.conf.Fixed[int] = 0


@dataclass(frozen=True)
class Sweep:
    """One command line."""

    family: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FAMILY")]
    """Task family, the first word: one of those above, or module:attribute for a TaskFamily of your own."""
    out: Path
    """Folder of the sweep; each training gets a folder METHOD-seedSEED in it."""
    settings: Annotated[SharedSettings, tyro.conf.OmitArgPrefixes, tyro.conf.SuppressFixed]
    """The settings, with the values that suit the task family. The threads are shared among the processes."""
    methods: Methods = ("maml",)
    """Meta-learning methods."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of the trainings."""
    preset: Maybe[Path] = None
    """File of settings that metarl tune has found: they are the defaults then, and its method is the only one."""
    processes: int = 1
    """Trainings at a time."""
    checkpoints: Annotated[CheckpointSettings, tyro.conf.OmitArgPrefixes] = field(default_factory=CheckpointSettings)
    """How often each run is saved."""
    workers: Annotated[WorkerOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=WorkerOptions)
    """Where the tasks of each training's meta-batch are. All trainings share one Ray cluster."""


def main(arguments: Sequence[str]) -> None:
    """Run the command; Refusal says what is wrong with its arguments, or how many trainings failed."""
    command = parse_sweep(arguments)
    todo = sweep.jobs(
        command.out,
        command.family,
        command.methods,
        command.seeds,
        TrainSettings(**vars(command.settings)),
        command.checkpoints,
        command.processes,
    )
    console = Terminal()
    settings = todo[0].settings
    if cluster := command.workers.cluster():
        cluster.check(command.settings.meta_batch_size, "a meta-batch")
    with command.workers.shared(command.processes, settings.threads) as workers, status_display(console) as show:
        todo = [replace(job, workers=workers.words()) for job in todo]
        statuses = sweep.run(todo, command.processes, show)
    failed = [job.name for job, status in statuses.items() if status.state == "failed"]
    if failed:
        raise Refusal(f"{len(failed)} of {len(todo)} trainings failed ({', '.join(failed)}): see the table")
    console.print(f"Next: {command_line('report', command.out)}", soft_wrap=True)


def parse_sweep(arguments: Sequence[str]) -> Sweep:
    """Return the command; its first word is the family, whose settings are the defaults."""
    family, path = first_word(arguments, "metarl sweep"), word_after("--preset", arguments)
    found = preset_with(family, None, Path(path) if path else None)
    settings, methods = SharedSettings(**vars(found)), (found.method,)
    default = Sweep(family=tyro.MISSING, out=tyro.MISSING, settings=settings, methods=methods)
    command = parse(Sweep, arguments, "metarl sweep", default, DESCRIPTION)
    if command.preset and command.methods != methods:
        raise Refusal(f"the preset {command.preset} is for {found.method} alone: leave --methods out")
    family_by_name(command.family)  # refused before the first training is
    return command
