"""Random generators that follow from a run's seed and iteration alone, so that no random state is stored."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What random numbers are drawn for; each purpose has a stream of its own."""

    PARAMETERS = 0
    TRAINING = 1
    EVALUATION = 2
    ADAPTATION = 3
    RENDERING = 4
    GATE = 5
    CHECK = 6
    PRUNING = 7
    UPDATE = 8
    FEDERATION = 9
    NESTING = 10
    TUNING = 11


def generator(seed: int, purpose: Purpose, index: int = 0) -> np.random.Generator:
    """Return the generator of one iteration (``index``) for one purpose in the run with this seed."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(purpose, index)))
