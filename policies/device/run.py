"""What the kernels of the device program know beside their operands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from metarl.policies.device.in_place import FloatArray
from metarl.policies.networks.fixed_point import Dice


@dataclass
class Run:
    """What the kernels know beside their operands: the recorded episodes, and the time steps in work."""

    storage: Mapping[str, Sequence[FloatArray]]  # by column; one array [time, ...] per episode
    steps: int  # of all episodes
    adapted: dict[str, Any] = field(default_factory=dict)  # the parameters that the step changes
    episode: int = 0
    start: int = 0
    stop: int = 0
    first: int = 0  # the first time step of the episode that the storage has: with streaming, the one in work
    episodes: int = 0  # of a stream
    gate: float = 1.0  # multiplies the step sizes
    dice: Dice = field(default_factory=lambda: Dice(0))  # for stochastic rounding
    kept: dict[str, tuple[int, int]] = field(default_factory=dict)  # channels by layer: of an episode at most, of all

    def column(self, name: str) -> FloatArray:
        """Return what is stored of the episode in work."""
        return self.storage[name][self.episode]

    def block(self, name: str) -> FloatArray:
        """Return what is stored of the time steps in work."""
        return self.column(name)[self.start - self.first : self.stop - self.first]

    def advantages(self, computed: FloatArray | None) -> FloatArray:
        """Return the advantages of the time steps in work: the computed ones, or those that are stored."""
        return (
            self.block("advantages") if computed is None else computed[self.start - self.first : self.stop - self.first]
        )
