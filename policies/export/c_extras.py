"""What a folder of C has beside the controller: a self-test for the board, a Makefile and a description."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metarl.policies.device.episodes import Episode
from metarl.policies.device.scores import kept_channels
from metarl.policies.export.c_files import Generated
from metarl.policies.export.c_text import filled, safe, table
from metarl.policies.export.recordings import as_recorded, normalized

SEED = 1  # of the self-test's observations and noise
EXAMPLES = 8  # observations whose actions the self-test compares
STEPS = (16, 64, 256)  # time steps of its episodes: as few as attention does not keep too many channels of
EPISODES = 2
TOLERANCE = 1e-4  # of its actions


def selftest(made: Generated, episodes: Sequence[Episode]) -> dict[str, str]:
    """Return the files of the self-test: examples for which a board must give the same actions as Python.

    Args:
        made: The controller on its way into C.
        episodes: Episodes that a robot may record, whose beginnings the self-test adapts to; random ones if empty.
    """
    controller, p = made.controller, made.prefix
    observations = np.random.default_rng(SEED).standard_normal(
        (EXAMPLES, controller.network.observation_size), np.float32
    )
    seen, examples = normalized(observations, made.normalization), _examples(made, episodes)
    adapted = controller.adapt(as_recorded(made, examples, SEED)) if examples else controller
    arrays = {
        "observations": observations,
        "actions": controller.predict(seen)[0],
        "adapted_actions": adapted.predict(seen)[0],
        "recorded": np.concatenate([table_of(each) for each in examples]) if examples else np.zeros(1, np.float32),
    }
    source = filled(
        "selftest.c",
        prefix=p,
        PREFIX=p.upper(),
        examples=EXAMPLES,
        episodes=len(examples),
        steps=len(table_of(examples[0])) if examples else 0,
        packed=int(made.packed_range is not None),
        seed=SEED,
        tables="\n".join(f"static {table(name, array)}" for name, array in arrays.items()),
    )
    header = filled("selftest.h", prefix=p, PREFIX=p.upper(), tolerance=f"{TOLERANCE:g}")
    main = filled("selftest_main.c", prefix=p, PREFIX=p.upper())
    return {f"{p}_selftest.h": header, f"{p}_selftest.c": source, "selftest_main.c": main}


def table_of(episode: Episode) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Return an episode as rows [time, observation and action and reward]."""
    return np.column_stack([episode["observations"], episode["actions"], episode["rewards"]]).astype(np.float32)


def makefile(made: Generated, sources: Sequence[str]) -> str:
    """Return the Makefile: the self-test on this machine, and a library of these sources for a Cortex-M."""
    return filled(
        "Makefile", prefix=made.prefix, objects=" ".join(f"{source.removesuffix('.c')}.o" for source in sources)
    )


def readme(made: Generated) -> str:
    """Return the description of the folder."""
    metadata = made.controller.metadata
    return filled(
        "README.md",
        prefix=made.prefix,
        PREFIX=made.prefix.upper(),
        family=safe(metadata.family),
        method=safe(metadata.method),
        facts="\n".join(f"    {line}" for line in made.facts()),
        arena_bytes=made.arena_bytes,
        change_place="the storage" if made.stored else "the robot",
        storage=_storage(made),
        kept="the policy that it had, and no episodes"
        if made.sizes.streaming
        else "the policy and the episodes that it had",
        examples=EXAMPLES,
        tolerance=f"{TOLERANCE:g}",
    )


def _storage(made: Generated) -> str:
    """Return what the description says of the storage."""
    if made.sizes.streaming:
        return (
            "Nothing is stored, and the storage of `start` may be a null pointer. As soon as a time step has its\n"
            "reward it is part of sums that lie in the robot."
        )
    address = "may be a null pointer"
    if made.stored:
        address = "must be the address of its first byte, for the policy reads its change there"
    return (
        f"The robot records its episodes in {made.storage_bytes} bytes that you provide by two callbacks, `read` and\n"
        f"`write`: flash, FRAM, an SD card or RAM. It writes each row of {made.row_bytes} bytes once, in order.\n"
        f"Its `memory` {address}."
    )


def _examples(made: Generated, episodes: Sequence[Episode]) -> list[Episode]:
    """Return short episodes to adapt to; none if nothing adapts, or if there is no room for their channels."""
    if not made.program.steps:
        return []
    work, controller = made.sizes.work, made.controller
    episodes = episodes or _random_episodes(made)
    for steps in STEPS:
        examples = [
            _beginning(each, min(steps, work.episode)) for each in episodes[: min(EPISODES, made.sizes.episodes)]
        ]
        recorded = as_recorded(made, examples, SEED)
        kept = kept_channels(controller.network, controller.parameters, made.layers, recorded, made.estimator)
        if made.sizes.windows or all(count <= work.kept[layer][1] for layer, count in kept.items()):
            return examples
    return []


def _beginning(episode: Episode, steps: int) -> Episode:
    return Episode(**{part: np.asarray(array, np.float32)[:steps] for part, array in episode.items()})  # type: ignore


def _random_episodes(made: Generated) -> list[Episode]:
    network, steps, random = made.controller.network, made.sizes.work.episode, np.random.default_rng(SEED)
    return [
        Episode(
            observations=random.standard_normal((steps, network.observation_size), np.float32),
            actions=random.standard_normal((steps, network.action_size), np.float32),
            rewards=random.standard_normal(steps, np.float32),
        )
        for _ in range(EPISODES)
    ]
