"""4Conv: the small image network of Finn et al. (2017), with group norm as in p-Meta (Sec. 4.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from metarl.policies.networks.layers import GROUPS, Layer, LayeredNetwork, Norm, check_images, normalized, operation
from metarl.policies.networks.network import Parameters, RunLayer, Trace, run_layer


@dataclass(frozen=True)
class Conv4(LayeredNetwork):
    """4 x [3x3 convolution, norm, ReLU, 2x2 pooling], then a fully-connected layer, on ``side`` x ``side`` RGB images.

    ``norm`` and ``pooling`` are those of p-Meta, Table 5. ValueError names a size that does not do.
    """

    side: int = 84
    ways: int = 5
    width: int = 32
    norm: Norm = "group"
    pooling: Literal["max", "average"] = "max"

    def __post_init__(self) -> None:
        check_images(self.side, self.ways)
        if self.width < 1 or self.width % GROUPS:
            raise ValueError(f"the convolutions' width must be a multiple of {GROUPS}, got {self.width}")

    @property
    def layers(self) -> tuple[Layer, ...]:
        """In the order from the images to the logits."""
        layers: list[Layer] = []
        for number in range(1, 5):
            inputs = 3 if number == 1 else self.width
            layers.append(Layer(f"conv{number}", "conv", inputs, self.width, kernel=3))
            layers.append(Layer(f"norm{number}", "norm", self.width, self.width))
        return (*layers, Layer("fc", "fc", self.width * (self.side // 16) ** 2, self.ways))

    def __call__(self, parameters: Parameters, inputs: Tensor, run: RunLayer = run_layer) -> tuple[Tensor, Trace]:
        """The logits [image, way] of images [image, 3, side, side]."""
        trace: Trace = {}

        def layer(name: str, layer_inputs: Tensor) -> Tensor:
            trace[name] = run(name, operation(parameters, name), layer_inputs)
            return trace[name].output

        pool = functional.max_pool2d if self.pooling == "max" else functional.avg_pool2d
        hidden = inputs
        for number in range(1, 5):
            output = layer(f"norm{number}", normalized(layer(f"conv{number}", hidden), self.norm))
            hidden = pool(torch.relu(output), 2)
        return layer("fc", hidden.flatten(1)), trace
