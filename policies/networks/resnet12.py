"""ResNet12 (Oreshkin et al., NeurIPS 2018), with group norm and LeakyReLU as in p-Meta (Sec. 4.2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from pydantic import with_config

from metarl.core.validation import STRICT, Size, validate_fields
from metarl.policies.networks.kinds import Channels, ContextSize, Norm, Side
from metarl.policies.networks.layers import Layer
from metarl.policies.networks.network import Network

SLOPE = 0.1  # of LeakyReLU below zero
CONDITIONED = "block3.norm3"  # the layer that takes the context


@with_config(STRICT)
@dataclass(frozen=True)
class ResNet12(Network):
    """Four residual blocks, the mean over the positions, then a linear layer, on ``side`` x ``side`` RGB images.

    ``widths`` are the blocks' channels. The last norm of the third block's main branch takes a context of
    ``context_size`` parameters, or none. Raise ValueError for a size that does not work.
    """

    takes = "images"

    side: Side = 84
    ways: Size = 5
    widths: tuple[Channels, Channels, Channels, Channels] = (64, 128, 256, 512)
    norm: Norm = "group"
    context_size: ContextSize = 0

    def __post_init__(self) -> None:
        validate_fields(self)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The layers of ``block1`` to ``block4``, each block's main branch before its shortcut, and ``fc``."""
        layers: list[Layer] = []
        inputs, side = 3, self.side
        for number, width in enumerate(self.widths, start=1):
            layers += residual_block(f"block{number}", inputs, width, side, self.norm)
            inputs, side = width, side // 2
        layers.append(Layer("fc", "linear", inputs, self.ways, side=side, reduction="average"))
        return tuple(
            replace(layer, context=self.context_size) if layer.name == CONDITIONED else layer for layer in layers
        )


def residual_block(block: str, inputs: int, outputs: int, side: int, norm: Norm = "group") -> Iterator[Layer]:
    """Yield the layers of a residual block that halves the side of its feature maps.

    The main branch is three 3x3 convolutions, each with its norm, LeakyReLU after the first two; the shortcut is a 1x1
    convolution with its norm. After their sum come LeakyReLU and 2x2 max-pooling.

    Args:
        block: the name that the layers' names begin with, e.g. ``block1``.
        inputs: channels of the feature maps that the block takes.
        outputs: channels of all its convolutions.
        side: height and width of the feature maps that it takes.
        norm: the normalization after each convolution.

    Yields:
        The layers in the order of a forward pass.
    """
    kind, channels = f"{norm}_norm", inputs
    for number in (1, 2, 3):
        fork: Literal["fork"] | None = "fork" if number == 1 else None
        activation: Literal["leaky_relu"] | None = "leaky_relu" if number < 3 else None
        yield Layer(f"{block}.conv{number}", "convolution", channels, outputs, kernel=3, side=side, residual=fork)
        yield Layer(f"{block}.norm{number}", kind, outputs, outputs, side=side, activation=activation, slope=SLOPE)
        channels = outputs
    yield Layer(f"{block}.shortcut", "convolution", inputs, outputs, side=side, residual="shortcut")
    yield Layer(
        f"{block}.shortcut_norm",
        kind,
        outputs,
        outputs,
        side=side,
        activation="leaky_relu",
        slope=SLOPE,
        pooling="max",
        residual="join",
    )
