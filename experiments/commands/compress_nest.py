"""``metarl compress nest``: several sparse subnets in one table, for budgets that change while a robot runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import tyro

from metarl.compression.judge import judged
from metarl.compression.nest_judge import judged_subnets, nested_record, separate_controllers
from metarl.compression.nest_settings import NestSettings
from metarl.compression.nest_state import Epoch
from metarl.compression.nesting import check_nestable
from metarl.compression.nesting import nest as train_nested
from metarl.core.errors import Refusal
from metarl.experiments.analysis.fleet_nest import record_sheet
from metarl.experiments.analysis.records import write_record
from metarl.experiments.commands.compress_options import JudgeOptions, share, tasks_for
from metarl.experiments.console.constructors import ControllerFile
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import check_new_file, parse
from metarl.experiments.console.progress import number
from metarl.experiments.console.sheets import printed
from metarl.policies.classifier import Classifier
from metarl.policies.loading import load
from metarl.runs.folder import CONTROLLER


@dataclass(frozen=True)
class Nest:
    """Train several sparse subnets of a policy or an image network in one table.

    The folder holds the state after each epoch and the nested controller, of which --subnet K of the other commands
    takes one, 1 the densest. The same command goes on after an interruption. At the end the judge compares each subnet
    with the dense controller, and with separate controllers that are pruned by magnitude.
    """

    controller: ControllerFile
    """The controller's file, its run's folder, or FAMILY/METHOD of one that ships with metarl."""
    out: Path
    """Folder to write, which must be new or hold the beginning of the same nesting."""
    separate_iterations: int = -1
    """Meta-iterations after the pruning of each separate controller; -1 leaves these controllers out."""
    settings: Annotated[NestSettings, tyro.conf.OmitArgPrefixes] = field(default_factory=NestSettings)
    judged: Annotated[JudgeOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=JudgeOptions)

    def __post_init__(self) -> None:
        if self.separate_iterations < -1:
            raise Refusal(f"--separate-iterations must be at least -1, got {self.separate_iterations}")


def nest(arguments: Sequence[str]) -> None:
    """Run ``metarl compress nest``."""
    command = parse(Nest, with_spaces(arguments), "metarl compress nest")
    options, settings, console = command.judged, command.settings, Terminal()
    if options.json:
        check_new_file(options.json)
    dense = load(command.controller)
    check_nestable(dense, settings)
    tasks = tasks_for(dense, options, console)
    show = share if isinstance(dense, Classifier) else number

    def tell(done: Epoch) -> None:
        scores = ", ".join(show(each) for each in done.scores)
        better = "the best so far" if done.better else "no better: shares chosen anew"
        console.print(f"epoch {done.number} of {settings.epochs}: {scores}  {better}", soft_wrap=True)

    nested = train_nested(dense, tasks, settings, options.threads, command.out, tell)
    console.print(f"nested controller: {command.out / CONTROLLER}", soft_wrap=True)
    judging = tasks, options.judge_tasks, options.judge_seed, options.threads
    separate = []
    if command.separate_iterations >= 0:
        made = separate_controllers(dense, tasks, settings, command.separate_iterations, options.threads)
        separate = [judged(each, *judging) for each in made]
    record = nested_record(
        str(command.controller), settings, nested, judged(dense, *judging), judged_subnets(nested, *judging), separate
    ) | {"judge_seed": options.judge_seed, "separate_iterations": command.separate_iterations}
    console.print(printed(record_sheet(record)))
    console.print(f"one file: {record['nested_file_bytes']:,} bytes", soft_wrap=True)
    if separate:
        console.print(f"{len(separate)} separate files: {record['separate_file_bytes']:,} bytes", soft_wrap=True)
    if options.json:
        write_record(options.json, record)


def with_spaces(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with the sparsities apart, if commas are between them."""
    pairs = pairwise(["", *arguments])
    return [part for before, word in pairs for part in (word.split(",") if before == "--sparsities" else [word])]
