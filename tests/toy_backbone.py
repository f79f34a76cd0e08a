"""A backbone of the tests' own, unlike those of metarl: what a user writes to add one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from metarl.policies.networks.kinds import Norm
from metarl.policies.networks.layers import Layer
from metarl.policies.networks.network import Network


@dataclass(frozen=True)
class ToyBackbone(Network):
    """A unit without pooling, a residual block whose main branch is one unit, a unit without activation, and fc.

    Poolings and slopes differ from block to block; the residual block averages, and nothing follows its shortcut's
    sum but the pooling.
    """

    takes = "images"

    side: int = 16
    ways: int = 3
    width: int = 8
    norm: Norm = "group"
    context_size: int = 0

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        width, side, norm = self.width, self.side, f"{self.norm}_norm"
        return (
            Layer("stem", "convolution", 3, width, kernel=3, side=side),
            Layer("stem_norm", norm, width, width, side=side, activation="leaky_relu", slope=0.2),
            Layer("main", "convolution", width, 2 * width, kernel=3, side=side, residual="fork"),
            Layer("main_norm", norm, 2 * width, 2 * width, side=side, activation="relu", context=self.context_size),
            Layer("skip", "convolution", width, 2 * width, side=side, residual="shortcut"),
            Layer("skip_norm", norm, 2 * width, 2 * width, side=side, pooling="average", residual="join"),
            Layer("last", "convolution", 2 * width, width, side=side // 2),
            Layer("last_norm", norm, width, width, side=side // 2, activation="leaky_relu", slope=0.3, pooling="max"),
            Layer("fc", "linear", width * (side // 4) ** 2, self.ways, side=side // 4, reduction="flatten"),
        )
