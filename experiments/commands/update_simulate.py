"""``metarl update simulate``: what ways of updating robots reach, round by round, for the bytes that they send."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from metarl.core.settings import AtLeastOne
from metarl.core.threads import available_threads
from metarl.experiments.commands.update_options import COMPARED, Strategies, family_now, require_strategies
from metarl.experiments.console.constructors import Family, FieldWords
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import parse, require_at_least
from metarl.experiments.console.progress import number
from metarl.fleet.partial_update import UpdateSettings, check_updatable
from metarl.fleet.simulation import SimulatedRound, Simulation, simulate
from metarl.policies.loading import load_controller


@dataclass(frozen=True)
class Simulate:
    """Update robots in rounds, and tell what each strategy reaches for the bytes that it sends.

    A partial update is chosen by the metric that names its strategy. full sends all numbers. pruning trains all of
    them, removes the smallest weights and sends those that stay.

    Each strategy has a folder of its own in OUT. The same command goes on after an interruption.
    """

    base: Path
    """The controller that robots have at first: its file, its run's folder, or FAMILY/METHOD of one that ships."""
    out: Path
    """Folder for the rounds and their controllers."""
    rounds: AtLeastOne = 4
    """How often the server trains and decides whether to send."""
    strategies: Strategies = COMPARED
    """Ways of updating: combined, global, local, random, full, pruning."""
    ratio: float = 0.05
    """Share of the weights that a partial update sends and pruning keeps."""
    iterations: AtLeastOne = 5
    """Meta-iterations of each of a round's two trainings."""
    seed: int = 0
    """Seed of the trainings."""
    judge_tasks: int = 40
    """Unseen tasks that decide what is sent, and as many others that are reported, at least 2."""
    family: Family = None
    """Task family whose tasks robots meet now; the one of the controller's training if left out."""
    fields: FieldWords = ()
    """Ranges of its task fields that have changed, NAME=LOW:HIGH or NAME=VALUE/VALUE; e.g. target_velocity=0:3."""
    threads: int = available_threads()
    """Threads of the simulator and of the training."""

    def __post_init__(self) -> None:
        require_at_least(2, judge_tasks=self.judge_tasks)
        require_at_least(1, threads=self.threads, rounds=self.rounds)
        require_strategies(self.strategies)


def main(arguments: Sequence[str]) -> None:
    """Run the command; raise Refusal saying what is wrong with its arguments."""
    command, console = parse(Simulate, arguments, "metarl update simulate"), Terminal()
    settings = UpdateSettings(command.ratio, iterations=command.iterations, seed=command.seed)
    base = load_controller(command.base)
    check_updatable(base)
    family = family_now(base, command.family, command.fields)
    for strategy in command.strategies:
        console.print(f"{strategy}:")
        simulation = Simulation(family, strategy, settings, command.rounds, command.judge_tasks, command.threads)
        simulate(
            base,
            simulation,
            command.out / f"{strategy}-seed{command.seed}",
            on_round=lambda done: console.print(told(done), soft_wrap=True),
            on_iteration=lambda text: console.print(f"  {text}", soft_wrap=True),
        )


def told(done: SimulatedRound) -> str:
    """Return a round in words."""
    now = f"return after adaptation {number(done.reached.mean)} ± {number(done.reached.ci95)}"
    if done.number == 0:
        return f"round 0: {now}"
    found = f"paired difference {number(done.gate.mean)} ± {number(done.gate.ci95)}"
    what = f"{done.patch_bytes:,} bytes sent" if done.sent else "nothing sent"
    return f"round {done.number}: {found}, {what}; {now}"
