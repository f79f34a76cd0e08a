"""ResNet12 (Oreshkin et al., NeurIPS 2018), with group norm and LeakyReLU as in p-Meta (Sec. 4.2)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor
from torch.nn import functional

from metarl.policies.networks.layers import GROUPS, Layer, LayeredNetwork, Norm, check_images, normalized, operation
from metarl.policies.networks.network import Parameters, RunLayer, Trace, run_layer

SLOPE = 0.1  # of LeakyReLU below zero


@dataclass(frozen=True)
class ResNet12(LayeredNetwork):
    """Four residual blocks, the mean over the positions, then a fully-connected layer, on RGB images.

    A block is three 3x3 convolutions, each with its norm, LeakyReLU after the first two; a 1x1 convolution with its
    norm as the shortcut; after their sum LeakyReLU and 2x2 max-pooling. ``widths`` are the blocks' channels.
    ValueError names a size that does not do.
    """

    side: int = 84
    ways: int = 5
    widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    norm: Norm = "group"

    def __post_init__(self) -> None:
        check_images(self.side, self.ways)
        if len(self.widths) != 4 or any(width < 1 or width % GROUPS for width in self.widths):
            raise ValueError(f"the blocks' widths must be four multiples of {GROUPS}, got {self.widths}")

    @property
    def layers(self) -> tuple[Layer, ...]:
        """In the order of a forward pass that runs each block's main branch before its shortcut."""
        layers: list[Layer] = []
        for number, (inputs, outputs) in enumerate(pairwise((3, *self.widths)), start=1):
            block = f"block{number}"
            for position in (1, 2, 3):
                channels = inputs if position == 1 else outputs
                layers.append(Layer(f"{block}.conv{position}", "conv", channels, outputs, kernel=3))
                layers.append(Layer(f"{block}.norm{position}", "norm", outputs, outputs))
            layers.append(Layer(f"{block}.shortcut", "conv", inputs, outputs))
            layers.append(Layer(f"{block}.shortcut_norm", "norm", outputs, outputs))
        return (*layers, Layer("fc", "fc", self.widths[-1], self.ways))

    def __call__(self, parameters: Parameters, inputs: Tensor, run: RunLayer = run_layer) -> tuple[Tensor, Trace]:
        """The logits [image, way] of images [image, 3, side, side]."""
        trace: Trace = {}

        def layer(name: str, layer_inputs: Tensor) -> Tensor:
            trace[name] = run(name, operation(parameters, name), layer_inputs)
            return trace[name].output

        def conv_norm(conv: str, norm: str, layer_inputs: Tensor) -> Tensor:
            return layer(norm, normalized(layer(conv, layer_inputs), self.norm))

        hidden = inputs
        for block in (f"block{number}" for number in range(1, 5)):
            branch = functional.leaky_relu(conv_norm(f"{block}.conv1", f"{block}.norm1", hidden), SLOPE)
            branch = functional.leaky_relu(conv_norm(f"{block}.conv2", f"{block}.norm2", branch), SLOPE)
            branch = conv_norm(f"{block}.conv3", f"{block}.norm3", branch)
            shortcut = conv_norm(f"{block}.shortcut", f"{block}.shortcut_norm", hidden)
            hidden = functional.max_pool2d(functional.leaky_relu(branch + shortcut, SLOPE), 2)
        return layer("fc", hidden.mean(dim=(2, 3))), trace
