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
from metarl.experiments.console.constructors import Family, Maybe
from metarl.experiments.console.parsing import check_new_file, parse, require_at_least


@dataclass(frozen=True)
class Bench:
    """Measure one ratio, and print it with the parts it is made of.

    sampling: steps per second of the sampler over those of the physics alone.

    iteration: time of a whole meta-iteration over that of its sampling.

    peers: steps per second of the sampler over other libraries' vector environments.

    images: time of an image meta-gradient, vectorized over tasks or task by task.

    device: RAM, flash and instructions of adapting on an emulated Cortex-M4.
    """

    name: Annotated[Literal["sampling", "iteration", "peers", "images", "device"], tyro.conf.Positional]
    """What to measure."""
    json: Maybe[Path] = None
    """Write the numbers to this file, which must be new."""
    threads: int = available_threads()
    """Threads to use."""
    family: Family = None
    """Task family of sampling and peers; half-cheetah-velocity if left out."""

    def __post_init__(self) -> None:
        require_at_least(1, threads=self.threads)
        if self.family is not None and self.name not in ("sampling", "peers"):
            raise Refusal(f"--family belongs to sampling and peers: {self.name} measures one family only")


def main(arguments: Sequence[str]) -> None:
    """Run the command; raise Refusal saying what is wrong with its arguments."""
    command = parse(Bench, arguments, "metarl bench")
    if command.json:
        check_new_file(command.json)
    bench = bench_module(command.name)
    result = bench.run(command.threads, **({} if command.family is None else {"family": command.family}))
    bench.show(result)
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
