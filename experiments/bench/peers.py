"""Env-steps per second of the sampler over those of other libraries' vector environments, with the same policy."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

from metarl.core.threads import available_threads, single_threaded_torch
from metarl.experiments.bench.measure import (
    FAMILY,
    Scale,
    print_table,
    rate_cells,
    rates_in_turn,
    ratio_of,
    ratio_text,
    sampling_job,
    scale_of,
    spread,
)
from metarl.experiments.bench.robots import environment_of
from metarl.experiments.bench.vector_environments import PEERS, Peer, Round

OURS = "metarl"


def run(threads: int | None = None, family: str | None = None) -> dict[str, Any]:
    """Measure a family with ``threads`` (default: all cores), HalfCheetah at the paper's scale."""
    return measure(PEERS, scale_of(family or FAMILY), threads or available_threads(), repetitions=7, seconds=1.0)


def show(result: dict[str, Any]) -> None:
    """Print our ratio to each peer."""
    measured = [part for part in result["parts"] if "rate" in part]
    skipped = [part for part in result["parts"] if "rate" not in part]
    rows = [
        [part["name"], str(part["environments"]), *rate_cells(part["rate"]), f"{part['ratio']:.2f}"]
        for part in measured
    ]
    print_table(
        f"Sampling {result['family']} with a policy in the loop: {result['threads']} threads",
        ["env-steps/s", "envs", "median", "min", "max", "ratio"],
        [[OURS, str(result["episodes"]), *rate_cells(result["ours"]), ""], *rows],
        f"{OURS} / the fastest peer, {result['fastest_peer']}: {ratio_text(result)}",
        f"Peers run {result['environment']} in the fastest number of environments of a few, in whole episodes of "
        f"{result['horizon']} steps, for at least {result['seconds']:g} s at a time.",
        *(f"{part['name']} is skipped: {part['skipped']}." for part in skipped),
    )


def measure(peers: Sequence[Peer], scale: Scale, threads: int, repetitions: int, seconds: float) -> dict[str, Any]:
    """Measure our sampler and every installed peer in turn.

    Args:
        peers: The vector environments to compare with.
        scale: How much our sampler samples, and of which family.
        threads: Threads of our sampler and of the peers.
        repetitions: Turns that are measured, after one for warm-up.
        seconds: How long a peer's turn lasts at least; it consists of whole rounds.

    Returns:
        Rates in environment steps per second and ratios, as ``show`` prints them.
    """
    environment = environment_of(scale.name)
    job = sampling_job(scale, threads)
    parts: list[dict[str, Any]] = []
    with single_threaded_torch(), ExitStack() as stack:
        sampler = stack.enter_context(job.sampler())
        works: dict[str, Round] = {OURS: lambda: int(job.sample(sampler).valid.sum())}
        for peer in peers:
            if find_spec(peer.package) is None:
                parts.append({"name": peer.name, "skipped": f"the package {peer.package} is not installed"})
                continue
            tried = {
                count: rate_of(partial(peer.open, environment, count, threads, scale.horizon), seconds)
                for count in peer.environments(threads)
            }
            best = max(tried, key=lambda count: tried[count])
            a_round = stack.enter_context(peer.open(environment, best, threads, scale.horizon))
            works[peer.name] = partial(rounds_for, seconds, a_round)
            part = {"name": peer.name, "version": version(peer.package), "environments": best}
            parts.append({**part, "tried": {str(count): rate for count, rate in tried.items()}})
        rates = rates_in_turn(works, repetitions)
    for part in parts:
        if part["name"] in rates:
            part |= {"rate": spread(rates[part["name"]]), **ratio_of(rates[OURS], rates[part["name"]])}
    fastest = min((part for part in parts if "ratio" in part), key=lambda part: float(part["ratio"]))
    return {
        **{key: fastest[key] for key in ("ratio", "ratio_min", "ratio_max")},
        "family": scale.name,
        "environment": environment,
        "fastest_peer": fastest["name"],
        "ours": spread(rates[OURS]),
        "parts": parts,
        "episodes": scale.tasks * scale.episodes,
        "horizon": scale.horizon,
        "threads": threads,
        "repetitions": repetitions,
        "seconds": seconds,
    }


def rounds_for(seconds: float, a_round: Round) -> int:
    """Repeat rounds for some seconds and return the number of environment steps."""
    start, steps = time.perf_counter(), a_round()
    while time.perf_counter() - start < seconds:
        steps += a_round()
    return steps


def rate_of(open_peer: Callable[[], AbstractContextManager[Round]], seconds: float) -> float:
    """Return the environment steps per second of a peer, after a warm-up."""
    with open_peer() as a_round:
        return rates_in_turn({"peer": partial(rounds_for, seconds, a_round)}, 1)["peer"][0]
