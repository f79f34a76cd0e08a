"""Random generators that are derived, not advanced: a run's random state is its seed and its iteration."""

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


def generator(seed: int, purpose: Purpose, index: int = 0) -> np.random.Generator:
    """The generator of one iteration (``index``) of one purpose in the run with this seed."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(purpose, index)))
