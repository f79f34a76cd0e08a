"""The time of a whole meta-iteration over that of its own sampling, and its peak memory."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import Any

from metarl.clock import Clock
from metarl.experiments.bench.measure import FULL_SCALE, Scale, print_table, ratio_of, ratio_text, spread
from metarl.meta_iteration import meta_iteration
from metarl.meta_training import build_network, initial_state, single_threaded_torch
from metarl.randomness import Purpose, generator
from metarl.sampling import Sampler
from metarl.settings import available_threads

TARGET = 1.35
TARGET_MIB = 4096


def run(threads: int | None = None, method: str = "maml") -> dict[str, Any]:
    """Measures at the paper's scale with ``threads`` (default: all cores), in about a minute."""
    return measure(FULL_SCALE, threads or available_threads(), method, repetitions=5)


def show(result: dict[str, Any]) -> None:
    """Prints the ratio, the phases and the peak memory."""
    seconds = {"whole iteration": result["total"], **result["parts"]}
    print_table(
        f"Meta-iteration of {result['method']}: {result['tasks']} tasks of {result['episodes']} episodes of "
        f"{result['horizon']} steps, {result['threads']} threads",
        ["seconds", "median", "min", "max"],
        [[name, *(f"{spent[key]:.2f}" for key in ("median", "min", "max"))] for name, spent in seconds.items()],
        f"whole iteration / sampling: {ratio_text(result)}, target at most {TARGET}",
        f"peak memory of an iteration: {result['peak_rss_mib']:,.0f} MiB, target under {TARGET_MIB:,}",
    )


def measure(scale: Scale, threads: int, method: str, repetitions: int) -> dict[str, Any]:
    """``repetitions`` iterations after one for warm-up; ``rest`` is what belongs to no phase."""
    # First, because on Linux a new process inherits the peak of the one that starts it.
    peak = peak_memory(scale, threads, method)
    runs = list(timed_iterations(scale, threads, method, repetitions + 1))[1:]
    phases = {name: [seconds[name] for _, seconds in runs] for name in runs[0][1]}
    totals = [total for total, _ in runs]
    phases["rest"] = [total - sum(seconds.values()) for total, seconds in runs]
    return {
        **ratio_of(totals, phases["sampling"]),
        "total": spread(totals),
        "parts": {name: spread(seconds) for name, seconds in phases.items()},
        "peak_rss_mib": peak,
        "method": method,
        "tasks": scale.tasks,
        "episodes": scale.episodes,
        "horizon": scale.horizon,
        "threads": threads,
        "repetitions": repetitions,
    }


def timed_iterations(scale: Scale, threads: int, method: str, count: int) -> Iterator[tuple[float, dict[str, float]]]:
    """The first iterations of a training: the seconds of each, in all and by phase."""
    family, settings = scale.family(), scale.settings(threads, method)
    network = build_network(family, settings)
    state = initial_state(network, settings)
    parameters, moments = state.parameters, state.moments
    with (
        single_threaded_torch(),
        Sampler(family, network, settings.action_scale, threads) as sampler,
        ThreadPoolExecutor(threads) as executor,
    ):
        for iteration in range(count):
            clock, random = Clock(), generator(settings.seed, Purpose.TRAINING, iteration)
            start = time.perf_counter()
            parameters, moments, _ = meta_iteration(parameters, moments, settings, sampler, executor, random, clock)
            yield time.perf_counter() - start, clock.seconds


def peak_memory(scale: Scale, threads: int, method: str) -> float:
    """MiB that a fresh process occupies at most (its resident set) in one iteration."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(peak_of_this_process, scale, threads, method).result()


def peak_of_this_process(scale: Scale, threads: int, method: str) -> float:
    """MiB, after one iteration."""
    for _ in timed_iterations(scale, threads, method, 1):
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
