"""``metarl bench``: how fast sampling and meta-training are, each as a ratio measured in one run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from metarl.core.atomic import write_atomically
from metarl.core.errors import Refusal
from metarl.core.threads import available_threads
from metarl.experiments.bench.machine import machine, machine_text
from metarl.experiments.console.constructors import Family, Maybe
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import check_new_file, parse, require_at_least


@dataclass(frozen=True)
class Bench:
    """Measure one ratio, and print it with the parts it is made of and the machine.

    sampling: steps per second of the sampler over those of the physics alone.

    iteration: time of a whole meta-iteration over that of its sampling.

    peers: steps per second of the sampler over other libraries' vector environments.

    images: time of an image meta-gradient, vectorized over tasks or task by task.

    device: RAM, flash and instructions of adapting on an emulated Cortex-M4.

    scale: meta-iterations per second of up to 16 workers of a Ray cluster, with sleep in the place of physics.

    learning: environment steps and seconds until half-cheetah-velocity reaches -82.2, of three trainings or of --runs.
    """

    name: Annotated[
        Literal["sampling", "iteration", "peers", "images", "device", "scale", "learning"],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="NAME"),
    ]
    """What to measure, one of those above."""
    json: Maybe[Path] = None
    """Write the numbers to this file, which must be new."""
    threads: int = available_threads()
    """Threads to use."""
    family: Family = None
    """Task family of sampling and peers, half-cheetah-velocity if left out; for scale, the one whose physics takes as
    long as the sleep."""
    runs: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="RUN [RUN ...]", help_behavior_hint="")] = ()
    """Run folders that learning reads; it trains the preset with three seeds if left out."""

    def __post_init__(self) -> None:
        require_at_least(1, threads=self.threads)
        if self.family is not None and self.name not in ("sampling", "peers", "scale"):
            raise Refusal(f"--family belongs to sampling, peers and scale: {self.name} measures one family only")
        if self.runs and self.name != "learning":
            raise Refusal(f"--runs belongs to learning: {self.name} measures no training")


def main(arguments: Sequence[str]) -> None:
    """Run the command; raise Refusal saying what is wrong with its arguments."""
    command = parse(Bench, arguments, "metarl bench")
    if command.json:
        check_new_file(command.json)
    bench = bench_module(command.name)
    options = {"family": command.family, "runs": command.runs}
    result = bench.run(command.threads, **{name: value for name, value in options.items() if value})
    bench.show(result)
    if not command.runs:  # their logs may be another machine's
        result["machine"] = machine()
        Terminal().print(machine_text(result["machine"]), soft_wrap=True)
    if command.json:
        write_atomically(command.json, (json.dumps(result, indent=2) + "\n").encode())


def bench_module(name: str) -> Any:
    """Return the module with ``run(threads) -> dict`` and ``show(result)``."""
    module = f"metarl.experiments.bench.{name}"
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise Refusal(f"the benchmark '{name}' is not part of this installation: there is no {module}") from None
