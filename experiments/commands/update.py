"""``metarl update``: send a few numbers to robots that have a controller already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.table import Table

from metarl.compression.judge import Verdict, judge, verdict_record
from metarl.core.errors import Refusal
from metarl.core.threads import available_threads
from metarl.envs.family import TaskFamily
from metarl.experiments.analysis.records import write_record
from metarl.experiments.commands import update_simulate, update_stream
from metarl.experiments.commands.update_options import family_now
from metarl.experiments.console.constructors import Family, FieldWords, Maybe
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import check_new_file, parse, require_at_least
from metarl.experiments.console.progress import number
from metarl.fleet.partial_update import Update as Updated
from metarl.fleet.partial_update import UpdateSettings, partial_update, towards
from metarl.fleet.scores import entropy_bits
from metarl.policies.controller import Controller
from metarl.policies.files.patch import Patch, difference, digest, read_patch, write_patch
from metarl.policies.files.rice import encode
from metarl.policies.loading import load_controller
from metarl.policies.updates import update_file

PatchFile = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PATCH")]


@dataclass(frozen=True)
class Update:
    """Send a few numbers to robots that have a controller already.

    make: continue its meta-training, and write what a share of its weights should become.

    apply: change a controller's file by a patch.

    info: tell what a patch changes and how it was made.

    simulate: compare ways of updating in rounds, by what robots reach and the bytes that are sent.

    stream: the same for a classifier whose images arrive in rounds.

    metarl update KIND --help shows the options of a kind.
    """

    kind: Annotated[
        Literal["make", "apply", "info", "simulate", "stream"], tyro.conf.Positional, tyro.conf.arg(metavar="KIND")
    ]
    """One of those above."""


@dataclass(frozen=True)
class Make:
    """Continue the meta-training of a controller, and write a patch with a share of its weights.

    The patch is written only if the new controller is better on unseen tasks by more than the interval of the paired
    difference.
    """

    base: Path
    """The controller that robots have: its file, its run's folder, or FAMILY/METHOD of one that ships with metarl."""
    out: Path
    """The patch to write, which must be new."""
    to: Maybe[Path] = None
    """A controller that was trained elsewhere: send the largest changes towards it, and train nothing."""
    settings: Annotated[UpdateSettings, tyro.conf.OmitArgPrefixes] = field(default_factory=UpdateSettings)
    judge_tasks: int = 40
    """Unseen tasks that the controllers are compared on, at least 2."""
    judge_seed: int = 1
    """Seed of these tasks and of the episodes."""
    gate: bool = True
    """Write a patch only if the comparison says that it is better; --no-gate writes it in any case."""
    json: Maybe[Path] = None
    """Write the comparison, the settings and the patch's bytes to this file, which must be new."""
    family: Family = None
    """Task family whose tasks robots meet now; the one of the controller's training if left out."""
    fields: FieldWords = ()
    """Ranges of its task fields that have changed, NAME=LOW:HIGH or NAME=VALUE/VALUE; e.g. target_velocity=0:3."""
    threads: int = available_threads()
    """Threads of the simulator and of the training."""

    def __post_init__(self) -> None:
        require_at_least(2, judge_tasks=self.judge_tasks)
        require_at_least(0, judge_seed=self.judge_seed)
        require_at_least(1, threads=self.threads)


@dataclass(frozen=True)
class Apply:
    """Change a controller's file by a patch, in one stroke: after a power cut it is the old one or the new one."""

    patch: PatchFile
    """The patch."""
    controller: Path
    """The controller's file, which is replaced."""


@dataclass(frozen=True)
class Info:
    """Tell what a patch changes and how it was made."""

    patch: PatchFile
    """The patch."""
    controller: Path
    """The controller that it is for."""


def main(arguments: Sequence[str]) -> None:
    """Run the command; raise Refusal saying what is wrong with its arguments, or why a patch cannot be applied."""
    kinds: dict[str, Callable[[Sequence[str]], None]] = {
        "make": make,
        "apply": apply,
        "info": info,
        "simulate": update_simulate.main,
        "stream": update_stream.main,
    }
    if arguments and arguments[0] in kinds:
        kinds[arguments[0]](arguments[1:])
        return
    parse(Update, arguments, "metarl update")


def make(arguments: Sequence[str]) -> None:
    """Run ``metarl update make``."""
    command, console = parse(Make, arguments, "metarl update make"), Terminal()
    for file in (command.out, command.json):
        if file:
            check_new_file(file)
    base = load_controller(command.base)
    family = family_now(base, command.family, command.fields)
    update = made(command, base, family, console)
    tell_comparison(update.verdict, command.judge_tasks, console)
    size = 0
    if command.gate and not update.is_better:
        console.print("no patch: the update is not better than the controller that robots have", soft_wrap=True)
    else:
        facts = facts_of(command, update.verdict)
        patch = difference(base.network, base.parameters, update.controller.parameters, facts)
        write_patch(command.out, patch)
        size = command.out.stat().st_size
        console.print(f"{command.out}: {size:,} bytes, {patch.changed:,} numbers", soft_wrap=True)
    if command.json:
        write_record(command.json, record_of(command, base, update, size))


def made(command: Make, base: Controller, family: TaskFamily, console: Console) -> Updated:
    """Return the update: trained, or towards another controller."""
    judged = command.judge_tasks, command.judge_seed
    if command.to is None:
        return partial_update(
            base,
            family,
            command.settings,
            command.threads,
            judged,
            on_iteration=lambda told: console.print(told, soft_wrap=True),
        )
    new, sent = towards(base, load_controller(command.to), command.settings.ratio)
    return Updated(new, sent, judge(base, new, family, *judged, command.threads))


def record_of(command: Make, base: Controller, update: Updated, size: int) -> dict[str, Any]:
    """Return an update as JSON; ``size`` is that of the patch's file, 0 if none was sent."""
    numbers = sum(tensor.numel() for tensor in base.parameters.values())
    return {
        "base": str(command.base),
        "to": None if command.to is None else str(command.to),
        "fields": list(command.fields),
        "settings": asdict(command.settings),
        "judge_seed": command.judge_seed,
        "patch_bytes": size,
        "full_bytes": 4 * numbers,
        **verdict_record(update.verdict),
    }


def facts_of(command: Make, verdict: Verdict) -> dict[str, Any]:
    """Return the record that a patch carries."""
    settings, difference = command.settings, verdict.paired_difference
    how = {"metric": settings.metric, "iterations": settings.iterations, "seed": settings.seed}
    return {
        "ratio": settings.ratio,
        **(how if command.to is None else {"metric": "global"}),
        "paired_difference": round(difference.mean, 3),
        "ci95": round(difference.ci95, 3),
        "tasks": command.judge_tasks,
    }


def tell_comparison(verdict: Verdict, tasks: int, console: Console) -> None:
    """Print how a new controller compares to the one that robots have."""
    before, after, paired = verdict.before.return_after, verdict.after.return_after, verdict.paired_difference
    console.print(
        f"return after adaptation: {number(before.mean)} ± {number(before.ci95)} before the update, "
        f"{number(after.mean)} ± {number(after.ci95)} after it; paired difference {number(paired.mean)} ± "
        f"{number(paired.ci95)} (95 %, {tasks} tasks)",
        soft_wrap=True,
    )


def apply(arguments: Sequence[str]) -> None:
    """Run ``metarl update apply``."""
    command = parse(Apply, arguments, "metarl update apply")
    if not command.controller.is_file():
        raise Refusal(f"{command.controller}: there is no such file, and a patch is applied to a controller's file")
    update_file(command.controller, command.patch)
    Terminal().print(f"{command.controller} is updated by {command.patch}", soft_wrap=True)


def info(arguments: Sequence[str]) -> None:
    """Run ``metarl update info``."""
    command, console = parse(Info, arguments, "metarl update info"), Terminal()
    controller = load_controller(command.controller)
    patch = read_patch(command.patch, controller.network, controller.parameters)
    own = digest(controller.network, controller.parameters)
    if own not in (patch.base, patch.outcome):
        raise Refusal(f"{command.patch} is for a controller with the digest {patch.base}, not for this one with {own}")
    console.print(change_table(patch, controller))
    size, code = command.patch.stat().st_size, encode(patch.positions)
    whole = sum(tensor.numel() for tensor in controller.parameters.values()) * 4
    console.print(f"file: {size:,} bytes, {100 * size / whole:.3g} % of the controller's {whole:,} bytes of numbers")
    if len(patch.positions):
        among = positions_among(patch, controller)
        bound = entropy_bits(len(patch.positions), among) / 8
        console.print(
            f"positions: {len(code):,} bytes for {len(patch.positions):,} of {among:,} numbers; "
            f"of random positions at least {bound:,.0f}",
            soft_wrap=True,
        )
    for name, value in patch.facts.items():
        console.print(f"{name}: {value}", soft_wrap=True, markup=False)
    done = "has been applied to this controller" if own == patch.outcome else "has not been applied to it yet"
    console.print(f"base: {patch.base}\noutcome: {patch.outcome}\nThe patch {done}.")


def change_table(patch: Patch, controller: Controller) -> Table:
    """Return how many numbers of each parameter a patch writes."""
    table = Table("parameter", "numbers", "changed")
    start = 0
    for name, letter in zip(sorted(controller.parameters), patch.coding, strict=True):
        size = controller.parameters[name].numel()
        changed = size if letter == "w" else 0
        if letter == "s":
            changed = int(((patch.positions >= start) & (patch.positions < start + size)).sum())
            start += size
        if changed:
            table.add_row(name, f"{size:,}", f"{changed:,} ({100 * changed / size:.3g} %)")
    return table


def positions_among(patch: Patch, controller: Controller) -> int:
    """Return the count of numbers of the parameters that change in part."""
    names = zip(sorted(controller.parameters), patch.coding, strict=True)
    return sum(controller.parameters[name].numel() for name, letter in names if letter == "s")
