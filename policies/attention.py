"""Meta attention: which channels of a layer a task shall update (p-Meta, Sec. 3.3, Fig. 3, Alg. 1). Pure functions.

A layer has two modules, one that looks at its input x_{l-1} (forward) and one that looks at the gradient at its output
g(y_l) (backward). Each is two fully-connected layers of as many units as there are channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from metarl.policies.network import Parameters

PREFIX = "attention."


@dataclass(frozen=True)
class Attention:
    """The clip ratios rho of the forward and the backward scores; 0 zeroes no channel, None leaves that module out."""

    forward_clip: float | None = 0.3
    backward_clip: float | None = 0.0

    def clips(self) -> dict[str, float]:
        """The clip ratio of each module there is."""
        clips = {"forward": self.forward_clip, "backward": self.backward_clip}
        return {side: clip for side, clip in clips.items() if clip is not None}


def initial_attention(
    attention: Attention, channels: dict[str, tuple[int, int]], generator: torch.Generator
) -> Parameters:
    """The modules of every layer in ``channels`` (input and output channels by layer name).

    The second fully-connected layer starts at zero, so that all scores start at 1 before they are clipped.
    """
    parameters = {}
    for name, shape in attention_shapes(channels).items():
        side = name.split(".")[2]
        if side in attention.clips():
            uniform = torch.rand(shape, generator=generator) * 2 - 1
            parameters[name] = uniform / math.sqrt(shape[-1]) if name.endswith("fc1.weight") else torch.zeros(shape)
    return parameters


def attention_shapes(channels: dict[str, tuple[int, int]]) -> dict[str, tuple[int, ...]]:
    """The shapes of the parameters of both modules of every layer in ``channels``."""
    return {
        f"{PREFIX}{layer}.{side}.{part}.{kind}": (size, size) if kind == "weight" else (size,)
        for layer, sizes in channels.items()
        for side, size in zip(("forward", "backward"), sizes, strict=True)
        for part in ("fc1", "fc2")
        for kind in ("weight", "bias")
    }


def attention_scores(parameters: Parameters, layer: str, side: str, summary: Tensor, clip: float) -> Tensor:
    """gamma [..., channel] of a module, from each sample's mean over its positions ``summary`` [..., channel].

    Differentiable: the clipping counts as the identity (straight-through estimator).
    """
    name = f"{PREFIX}{layer}.{side}"
    hidden = torch.relu(summary @ parameters[f"{name}.fc1.weight"].mT + parameters[f"{name}.fc1.bias"])
    logits = hidden @ parameters[f"{name}.fc2.weight"].mT + parameters[f"{name}.fc2.bias"]
    shares = torch.softmax(logits, dim=-1)
    dense = shares * shares.shape[-1]
    return dense + (clip_and_normalize(shares.detach(), clip) - dense).detach()


def clip_and_normalize(shares: Tensor, clip: float) -> Tensor:
    """Algorithm 1 on shares [..., channel] that sum to 1: zeroes the smallest, keeps a mean of 1.

    Zeroed are the smallest shares up to and including the first at which their running sum reaches ``clip``; equal
    shares in the order of their channels, and never the largest. A clip of 0 zeroes nothing.
    """
    count = shares.shape[-1]
    if clip == 0:
        return shares * count
    ordered, order = torch.sort(shares, dim=-1, stable=True)
    below = torch.cumsum(ordered, dim=-1) - ordered
    zeroed = below < clip
    zeroed[..., -1] = False
    kept = shares.masked_fill(torch.zeros_like(zeroed).scatter(-1, order, zeroed), 0.0)
    return kept / kept.sum(dim=-1, keepdim=True) * count
