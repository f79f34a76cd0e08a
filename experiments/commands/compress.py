"""``metarl compress``: make a meta-trained controller smaller so that it still adapts, and judge what came out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from metarl.compression.integers import IntegerSettings, require_floats, to_integers
from metarl.compression.judge import judge, verdict_record
from metarl.compression.rounds import Round, prune_in_rounds
from metarl.compression.settings import PruneSettings
from metarl.compression.tasks import described
from metarl.core.errors import Refusal
from metarl.experiments.analysis.pruning_table import pruning_record
from metarl.experiments.analysis.records import write_record
from metarl.experiments.commands.compress_bases import bases
from metarl.experiments.commands.compress_nest import nest
from metarl.experiments.commands.compress_options import JudgeOptions, tasks_for, tell_verdict
from metarl.experiments.console.constructors import ControllerFile
from metarl.experiments.console.families import family_for
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import check_new_file, parse
from metarl.experiments.console.progress import number
from metarl.policies.loading import load
from metarl.rl.evaluation import family_of
from metarl.runs.folder import CONTROLLER


@dataclass(frozen=True)
class Compress:
    """Make a meta-trained controller smaller so that it still adapts, and judge the outcome.

    prune: remove weights by what that does to adapted networks, shrink p-Meta's attention, and meta-train again.

    nest: train several sparse subnets in one table, for budgets that change while a robot runs.

    int8: weights, activations and gradients of 8 bits, and an inner step in integers.

    bases: weights as sums of binary bases, below two bits each, whose coordinates adapt.

    judge: compare two controllers on the same unseen tasks: bytes, operations and returns.

    metarl compress KIND --help shows the options of a kind.
    """

    kind: Annotated[
        Literal["prune", "nest", "int8", "bases", "judge"], tyro.conf.Positional, tyro.conf.arg(metavar="KIND")
    ]
    """One of those above."""


@dataclass(frozen=True)
class Prune:
    """Remove weights of a policy or an image network by what that does to adapted ones, and meta-train again.

    The folder holds the outcome of each round and the pruned controller. The same command goes on after an
    interruption. At the end the judge compares the pruned controller with the dense one.
    """

    controller: ControllerFile
    """The controller's file, its run's folder, or FAMILY/METHOD of one that ships with metarl."""
    out: Path
    """Folder to write, which must be new or hold the beginning of the same pruning."""
    settings: Annotated[PruneSettings, tyro.conf.OmitArgPrefixes] = field(default_factory=PruneSettings)
    judged: Annotated[JudgeOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=JudgeOptions)


@dataclass(frozen=True)
class Int8:
    """Round a policy to int8 weights and activations, so that it acts and adapts in integers.

    Scales come from rollouts before and after adaptation. At the end the judge compares the outcome with the float
    controller.
    """

    controller: ControllerFile
    """The controller's file, its run's folder, or FAMILY/METHOD of one that ships with metarl."""
    out: Path
    """File to write, which must be new."""
    settings: Annotated[IntegerSettings, tyro.conf.OmitArgPrefixes] = field(default_factory=IntegerSettings)
    judged: Annotated[JudgeOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=JudgeOptions)


@dataclass(frozen=True)
class Judge:
    """Compare two controllers of a family on the same unseen tasks: bytes, operations and what they reach."""

    controller: ControllerFile
    """The first controller: its file, its run's folder, or FAMILY/METHOD of one that ships with metarl."""
    other: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OTHER")]
    """The second one."""
    judged: Annotated[JudgeOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=JudgeOptions)


def main(arguments: Sequence[str]) -> None:
    """Run the command; raise Refusal saying what is wrong with its arguments."""
    kinds = {"prune": prune, "nest": nest, "int8": int8, "bases": bases, "judge": judge_two}
    if arguments and arguments[0] in kinds:
        kinds[arguments[0]](arguments[1:])
        return
    parse(Compress, arguments, "metarl compress")


def prune(arguments: Sequence[str]) -> None:
    """Run ``metarl compress prune``."""
    command = parse(Prune, arguments, "metarl compress prune")
    options, console = command.judged, Terminal()
    if options.json:
        check_new_file(options.json)
    dense = load(command.controller)
    tasks = tasks_for(dense, options, console)
    pruned = prune_in_rounds(
        dense,
        tasks,
        command.settings,
        options.threads,
        command.out,
        on_round=lambda done: console.print(round_line(done, command.settings.rounds), soft_wrap=True),
    )
    console.print(f"pruned controller: {command.out / CONTROLLER}", soft_wrap=True)
    verdict = judge(dense, pruned, tasks, options.judge_tasks, options.judge_seed, options.threads)
    tell_verdict(verdict, options.judge_tasks, console)
    if options.json:
        write_record(
            options.json, pruning_record(str(command.controller), command.settings, verdict, options.judge_seed)
        )


def int8(arguments: Sequence[str]) -> None:
    """Run ``metarl compress int8``."""
    command = parse(Int8, arguments, "metarl compress int8")
    options, console = command.judged, Terminal()
    for file in (command.out, *([options.json] if options.json else [])):
        check_new_file(file)
    controller = require_floats(load(command.controller))
    family = family_of(controller, family_for(controller, options.family))
    integers = to_integers(controller, family, command.settings, options.threads)
    integers.save(command.out)
    console.print(f"int8 controller: {command.out}", soft_wrap=True)
    verdict = judge(controller, integers, family, options.judge_tasks, options.judge_seed, options.threads)
    tell_verdict(verdict, options.judge_tasks, console)
    if options.json:
        about = {"controller": str(command.controller), "judge_seed": options.judge_seed}
        write_record(options.json, about | {"settings": asdict(command.settings)} | verdict_record(verdict))


def judge_two(arguments: Sequence[str]) -> None:
    """Run ``metarl compress judge``."""
    command = parse(Judge, arguments, "metarl compress judge")
    options, console = command.judged, Terminal()
    if options.json:
        check_new_file(options.json)
    first, second = load(command.controller), load(command.other)
    if described(first) != described(second):
        raise Refusal(f"{command.controller} and {command.other} are controllers of different families")
    tasks = tasks_for(first, options, console)
    verdict = judge(first, second, tasks, options.judge_tasks, options.judge_seed, options.threads)
    tell_verdict(verdict, options.judge_tasks, console)
    if options.json:
        about = {"controller": str(command.controller), "other": str(command.other), "judge_seed": options.judge_seed}
        write_record(options.json, about | verdict_record(verdict))


def round_line(done: Round, rounds: int) -> str:
    """Return what a round of pruning led to."""
    kept = ", ".join(f"{layer} {100 * share:.3g} %" for layer, share in done.kept.items())
    trained = "" if done.trained_return is None else f"  after training {number(done.trained_return)}"
    return (
        f"round {done.number} of {rounds}: sparsity {done.sparsity:.3g}, kept {kept}  "
        f"largest weight {done.largest_weight:.3g}{trained}"
    )
