"""What the benchmarks share: the scale, repetitions in turn, and the ratios and tables made of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import torch
from rich.table import Table

from metarl.envs.family import TaskFamily
from metarl.envs.registry import get_family
from metarl.experiments.console.output import Terminal
from metarl.policies.networks.network import Parameters
from metarl.rl.adaptation import stack
from metarl.rl.episodes import Episodes
from metarl.rl.sampling import Sampler
from metarl.rl.settings import TrainSettings, preset
from metarl.rl.start import build_network
from metarl.rl.training import with_horizon

FAMILY = "half-cheetah-velocity"


@dataclass(frozen=True)
class Scale:
    """How much is sampled at once; the defaults are p-Meta's HalfCheetah (Sec. 4.3)."""

    tasks: int = 40
    episodes: int = 20
    horizon: int = 200
    name: str = FAMILY

    def family(self) -> TaskFamily:
        """Return the task family at this horizon."""
        return with_horizon(get_family(self.name), self.horizon)

    def settings(self, threads: int, method: str = "maml") -> TrainSettings:
        """Return the family's preset at this scale."""
        return preset(
            self.name, method=method, meta_batch_size=self.tasks, episodes_per_task=self.episodes, threads=threads
        )


FULL_SCALE = Scale()


def scale_of(family: str) -> Scale:
    """Return the scale at which a family is measured: smaller than HalfCheetah's, since other robots step slowly."""
    return FULL_SCALE if family == FAMILY else Scale(tasks=20, episodes=10, horizon=100, name=family)


@dataclass(frozen=True)
class SamplingJob:
    """A sampling that is the same every time: its policies, tasks, seeds and noise are fixed."""

    family: TaskFamily
    settings: TrainSettings
    parameters: Parameters  # with a leading task axis, as after an adaptation

    def sampler(self) -> Sampler:
        """Make a sampler for the job; the caller closes it."""
        network = build_network(self.family, self.settings)
        return Sampler(self.family, network, self.settings.action_scale, self.settings.threads)

    def sample(self, sampler: Sampler) -> Episodes:
        """Do the job once."""
        generator = np.random.default_rng(0)
        tasks = self.family.sample_tasks(self.settings.meta_batch_size, generator)
        return sampler.sample(self.parameters, tasks, self.settings.episodes_per_task, generator)


def sampling_job(scale: Scale, threads: int) -> SamplingJob:
    """Make the job at a scale, with an untrained policy per task."""
    family, settings = scale.family(), scale.settings(threads)
    network, generator = build_network(family, settings), torch.Generator().manual_seed(0)
    policies = [network.initial_parameters(generator) for _ in range(scale.tasks)]
    return SamplingJob(family, settings, stack(policies))


def rates_in_turn(works: Mapping[str, Callable[[], int]], repetitions: int) -> dict[str, list[float]]:
    """Measure the environment steps per second of several pieces of work, which return their number of steps.

    After a warm-up they take turns, so that other load on the machine slows all of them.
    """
    rates: dict[str, list[float]] = {name: [] for name in works}
    for repetition in range(repetitions + 1):
        for name, work in works.items():
            start = time.perf_counter()
            steps = work()
            rate = steps / (time.perf_counter() - start)
            if repetition > 0:
                rates[name].append(rate)
    return rates


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median, smallest and largest value."""
    return {"median": median(values), "min": min(values), "max": max(values)}


def ratio_of(numerators: Sequence[float], denominators: Sequence[float]) -> dict[str, float]:
    """Return the ratio of the medians, and the smallest and largest ratio within a turn."""
    ratios = [above / below for above, below in zip(numerators, denominators, strict=True)]
    return {
        "ratio": median(numerators) / median(denominators),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
    }


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *remarks: str) -> None:
    """Print a table and lines below it.

    Args:
        title: A line above the table.
        columns: Headings; the first column is text, the others are numbers.
        rows: Cells, as long as ``columns``.
        remarks: Lines below the table.
    """
    console = Terminal()
    table = Table()
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console.print(title, style="bold", soft_wrap=True)
    console.print(table)
    for remark in remarks:
        console.print(remark, soft_wrap=True)


def rate_cells(rates: Mapping[str, float]) -> list[str]:
    """Write median, smallest and largest rate in steps per second."""
    return [f"{rates[key]:,.0f}" for key in ("median", "min", "max")]


def ratio_text(result: Mapping[str, Any]) -> str:
    """Write a ratio with its range, e.g. ``0.91 (0.90 to 0.93)``."""
    return f"{result['ratio']:.2f} ({result['ratio_min']:.2f} to {result['ratio_max']:.2f})"
