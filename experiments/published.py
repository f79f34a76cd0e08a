"""What the paper reports, to stand beside what is measured here."""

from __future__ import annotations

from typing import NamedTuple


class Published(NamedTuple):
    """A controller's mean return after adaptation, and an inner step's operations and peak memory (MB = 10^6 bytes)."""

    mean_return: float
    gmac: float
    megabytes: float


# p-Meta (Qu et al., KDD 2022), Table 3: one inner step on 20 episodes of 200 observations, 400 unseen tasks.
TABLE_3 = {
    "half-cheetah-velocity": {
        "maml": Published(-82.2, 0.15, 0.24),
        "anil": Published(-78.8, 0.06, 0.09),
        "boil": Published(-76.4, 0.15, 0.23),
        "maml++": Published(-69.6, 0.15, 0.24),
        "p-meta-layers": Published(-65.5, 0.11, 0.12),
        "p-meta": Published(-64.0, 0.11, 0.11),
    },
    "navigation-2d": {
        "maml": Published(-13.3, 0.12, 0.21),
        "anil": Published(-13.8, 0.04, 0.08),
        "boil": Published(-12.4, 0.12, 0.21),
        "maml++": Published(-17.6, 0.12, 0.21),
        "p-meta-layers": Published(-11.2, 0.09, 0.09),
        "p-meta": Published(-11.8, 0.09, 0.09),
    },
}
METHODS = tuple(TABLE_3["navigation-2d"])
