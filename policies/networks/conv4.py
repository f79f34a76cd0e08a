"""4Conv: the small image network of Finn et al. (2017), with group norm as in p-Meta (Sec. 4.2)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from pydantic import with_config

from metarl.core.validation import STRICT, Size, validate_fields
from metarl.policies.networks.kinds import Channels, ContextSize, Norm, Side
from metarl.policies.networks.layers import Layer, Pooling
from metarl.policies.networks.network import Network


@with_config(STRICT)
@dataclass(frozen=True)
class Conv4(Network):
    """4 x [3x3 convolution, norm, ReLU, 2x2 pooling], then a linear layer, on ``side`` x ``side`` RGB images.

    ``norm`` and ``pooling`` are those of p-Meta, Table 5. The third norm takes a context of ``context_size``
    parameters, as in CAVIA's experiments, or none. Raise ValueError for a size that does not work.
    """

    takes = "images"

    side: Side = 84
    ways: Size = 5
    width: Channels = 32
    norm: Norm = "group"
    pooling: Pooling = "max"
    context_size: ContextSize = 0

    def __post_init__(self) -> None:
        validate_fields(self)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The layers ``conv1``, ``norm1``, ..., ``norm4`` and ``fc``."""
        layers: list[Layer] = []
        inputs, side = 3, self.side
        for number in range(1, 5):
            layers += [
                Layer(f"conv{number}", "convolution", inputs, self.width, kernel=3, side=side),
                Layer(
                    f"norm{number}",
                    f"{self.norm}_norm",
                    self.width,
                    self.width,
                    side=side,
                    activation="relu",
                    pooling=self.pooling,
                    context=self.context_size if number == 3 else 0,
                ),
            ]
            inputs, side = self.width, side // 2
        return (*layers, Layer("fc", "linear", inputs * side**2, self.ways, side=side, reduction="flatten"))
