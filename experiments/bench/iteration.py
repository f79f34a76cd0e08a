"""The time of a whole meta-iteration over that of its own sampling, and its peak memory."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from metarl.core.clock import Clock
from metarl.core.randomness import Purpose, generator
from metarl.core.threads import available_threads
from metarl.experiments.bench.measure import FULL_SCALE, Scale, print_table, ratio_of, ratio_text, spread
from metarl.rl.iteration import meta_iteration
from metarl.rl.start import build_network, initial_state
from metarl.rl.workers import task_worker

TARGET = 1.35
TARGET_MIB = 4096
METHODS = ("maml", "p-meta")
TARGET_METHODS = 1.5


def run(threads: int | None = None) -> dict[str, Any]:
    """Measure at the paper's scale with ``threads`` (default: all cores), in about two minutes."""
    return measure(FULL_SCALE, threads or available_threads(), repetitions=5)


def show(result: dict[str, Any]) -> None:
    """Print the ratios, the phases and the peak memory."""
    maml, p_meta = ({"whole iteration": of["total"], **of["parts"]} for of in (result, result["p_meta"]))
    keys = ("median", "min", "max")
    print_table(
        f"Meta-iteration: {result['tasks']} tasks of {result['episodes']} episodes of "
        f"{result['horizon']} steps, {result['threads']} threads",
        ["seconds", *(f"{method} {key}" if key == "median" else key for method in METHODS for key in keys)],
        [[name, *(f"{of[name][key]:.2f}" for of in (maml, p_meta) for key in keys)] for name in maml],
        f"whole iteration / sampling, maml: {ratio_text(result)}, target at most {TARGET}",
        f"whole iteration, p-meta / maml: {ratio_text(result['p_meta'])}, target at most {TARGET_METHODS}",
        f"peak memory of an iteration, maml: {result['peak_rss_mib']:,.0f} MiB, target under {TARGET_MIB:,}",
    )


def measure(scale: Scale, threads: int, repetitions: int) -> dict[str, Any]:
    """Measure ``repetitions`` iterations of each method in turn, after one for warm-up.

    ``rest`` is what belongs to no phase. The top level is MAML's; ``p_meta`` has p-Meta's, its ratio over MAML.
    """
    # First, because on Linux a new process inherits the peak of the one that starts it.
    peak = peak_memory(scale, threads, METHODS[0])
    iterations = (timed_iterations(scale, threads, method, repetitions + 1) for method in METHODS)
    maml, p_meta = zip(*list(zip(*iterations, strict=True))[1:], strict=True)
    totals, others = ([total for total, _ in runs] for runs in (maml, p_meta))
    return {
        **ratio_of(totals, [seconds["sampling"] for _, seconds in maml]),
        **spreads(maml),
        "p_meta": {**ratio_of(others, totals), **spreads(p_meta)},
        "peak_rss_mib": peak,
        "tasks": scale.tasks,
        "episodes": scale.episodes,
        "horizon": scale.horizon,
        "threads": threads,
        "repetitions": repetitions,
    }


def spreads(runs: Sequence[tuple[float, dict[str, float]]]) -> dict[str, Any]:
    """Return the spread of the whole iterations and of each of their parts, in seconds."""
    phases = {name: [seconds[name] for _, seconds in runs] for name in runs[0][1]}
    phases["rest"] = [total - sum(seconds.values()) for total, seconds in runs]
    return {
        "total": spread([total for total, _ in runs]),
        "parts": {name: spread(seconds) for name, seconds in phases.items()},
    }


def timed_iterations(scale: Scale, threads: int, method: str, count: int) -> Iterator[tuple[float, dict[str, float]]]:
    """Run the first iterations of a training.

    Args:
        scale: How much is sampled, and of which family.
        threads: Threads of the sampler and of the outer step.
        method: The method's name.
        count: Number of iterations.

    Yields:
        The seconds of each iteration, in all and by phase.
    """
    family, settings = scale.family(), scale.settings(threads, method)
    network = build_network(family, settings)
    state = initial_state(network, settings)
    parameters, moments = state.parameters, state.moments
    with task_worker(family, network, settings) as workers:
        for iteration in range(count):
            clock, random = Clock(), generator(settings.seed, Purpose.TRAINING, iteration)
            start = time.perf_counter()
            parameters, moments, _ = meta_iteration(parameters, moments, settings, workers, random, clock)
            yield time.perf_counter() - start, clock.seconds


def peak_memory(scale: Scale, threads: int, method: str) -> float:
    """Return the peak resident set in MiB of a fresh process that runs one iteration."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(peak_of_this_process, scale, threads, method).result()


def peak_of_this_process(scale: Scale, threads: int, method: str) -> float:
    """Return the peak resident set in MiB of this process after one iteration."""
    for _ in timed_iterations(scale, threads, method, 1):
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
