"""Networks as tuples of layer shapes: all that the memory and operation model needs to know of them.

Layers stand in the order in which a forward pass runs them. A residual block is flat, too: its main branch comes first
and its first layer is marked ``fork`` (the block's input has to wait for the second branch), then the second branch,
from the layer marked ``shortcut`` to the layer marked ``join``, whose output is added to the main branch's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from metarl.policies.networks.image_networks import ImageNetwork
from metarl.policies.networks.resnet12 import ResNet12

Pooling = Literal["max", "average"]


@dataclass(frozen=True)
class LayerShape:
    """A fully-connected, convolutional or group-norm layer, and what follows it up to the next layer.

    Convolutions have stride 1 and keep the size, so that ``positions`` (height times width; 1 if fully connected)
    holds for the input x and the output y. The activation and then the pooling come after the layer, in a joining
    layer after the addition. ``pooled_positions`` are those left by a 2x2 pooling, 0 without one;
    ``averaged_positions`` are averaged into one before the layer (global average pooling), 1 without.
    """

    name: str
    kind: Literal["fc", "conv", "group_norm"]
    channels_in: int
    channels_out: int
    positions: int = 1
    kernel: int = 1
    biases: int = 0
    activation: Literal["relu", "leaky_relu"] | None = None
    pooled_positions: int = 0
    pooling: Pooling = "max"
    averaged_positions: int = 1
    branch: Literal["fork", "shortcut", "join"] | None = None

    @property
    def input_words(self) -> int:
        """m(x), the numbers in one sample's input."""
        return self.channels_in * self.positions

    @property
    def output_words(self) -> int:
        """m(y), the numbers in one sample's output, before pooling."""
        return self.channels_out * self.positions

    @property
    def pooled_words(self) -> int:
        """The numbers that pooling leaves of one sample's output; 0 without pooling."""
        return self.channels_out * self.pooled_positions

    @property
    def weights(self) -> int:
        """m(w); of a group norm its scales (its offsets are the biases)."""
        if self.kind == "group_norm":
            return self.channels_out
        return self.channels_in * self.channels_out * self.kernel**2

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return self.weights + self.biases


Shapes = tuple[LayerShape, ...]


def mlp_shapes(sizes: Sequence[int]) -> Shapes:
    """The Gaussian MLP with layers of ``sizes`` = (observation, hidden, ..., action).

    The log standard deviations are counted among the last layer's biases: it owns and updates them.
    """
    if len(sizes) < 2 or min(sizes) < 1:
        raise ValueError(f"an MLP needs at least two layer sizes, each at least 1, got {tuple(sizes)}")
    last = len(sizes) - 1
    return tuple(
        LayerShape(
            name=f"layer{number}",
            kind="fc",
            channels_in=inputs,
            channels_out=outputs,
            biases=outputs if number < last else 2 * outputs,
            activation="relu" if number < last else None,
        )
        for number, (inputs, outputs) in enumerate(pairwise(sizes), start=1)
    )


def conv4_shapes(side: int = 84, ways: int = 5, channels: int = 32, pooling: Pooling = "max") -> Shapes:
    """4Conv on ``side`` x ``side`` RGB images: 4 x [3x3 convolution, group norm, ReLU, 2x2 pooling], then fc."""
    _check_images(side, ways)
    layers: list[LayerShape] = []
    inputs = 3
    for number in range(1, 5):
        layers.append(LayerShape(f"conv{number}", "conv", inputs, channels, side**2, kernel=3))
        norm = _group_norm(f"norm{number}", channels, side)
        side //= 2
        layers.append(replace(norm, activation="relu", pooled_positions=side**2, pooling=pooling))
        inputs = channels
    features = channels * side**2
    return (*layers, LayerShape("fc", "fc", features, ways, biases=ways))


def resnet12_shapes(side: int = 84, ways: int = 5, channels: Sequence[int] = (64, 128, 256, 512)) -> Shapes:
    """ResNet12 (Oreshkin et al., NeurIPS 2018) with group norm, on ``side`` x ``side`` RGB images.

    A block per entry of ``channels``: three 3x3 convolutions, each with its norm, LeakyReLU after the first two; a
    1x1 convolution with its norm as the shortcut; after their sum LeakyReLU and 2x2 max-pooling, which floors the
    side (84, 42, 21, 10, 5). Then the mean over the positions, and fc.
    """
    _check_images(side, ways)
    layers: list[LayerShape] = []
    inputs = 3
    for number, outputs in enumerate(channels, start=1):
        layers += _residual_block(f"block{number}", inputs, outputs, side)
        side //= 2
        inputs = outputs
    return (*layers, LayerShape("fc", "fc", inputs, ways, biases=ways, averaged_positions=side**2))


def _residual_block(block: str, inputs: int, outputs: int, side: int) -> list[LayerShape]:
    layers: list[LayerShape] = []
    for number, channels_in in enumerate((inputs, outputs, outputs), start=1):
        conv = LayerShape(f"{block}.conv{number}", "conv", channels_in, outputs, side**2, kernel=3)
        norm = _group_norm(f"{block}.norm{number}", outputs, side)
        layers.append(replace(conv, branch="fork") if number == 1 else conv)
        layers.append(replace(norm, activation="leaky_relu") if number < 3 else norm)
    layers.append(LayerShape(f"{block}.shortcut", "conv", inputs, outputs, side**2, branch="shortcut"))
    norm = _group_norm(f"{block}.shortcut_norm", outputs, side)
    layers.append(replace(norm, branch="join", activation="leaky_relu", pooled_positions=(side // 2) ** 2))
    return layers


def _group_norm(name: str, channels: int, side: int) -> LayerShape:
    return LayerShape(name, "group_norm", channels, channels, side**2, biases=channels)


def _check_images(side: int, ways: int) -> None:
    if side < 16:
        raise ValueError(f"images are halved four times, so their side must be at least 16, got {side}")
    if ways < 1:
        raise ValueError(f"the number of classes (ways) must be at least 1, got {ways}")


def network_shapes(network: ImageNetwork, side: int | None = None) -> Shapes:
    """The network's layers, for its own side or, to tell what it would cost there, for another.

    A batch norm counts as a group norm.
    """
    side = network.side if side is None else side
    if isinstance(network, ResNet12):
        return resnet12_shapes(side, network.ways, network.widths)
    return conv4_shapes(side, network.ways, network.width, network.pooling)
