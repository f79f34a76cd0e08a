"""Meta attention: which channels of a layer a task shall update (p-Meta, Sec. 3.3, Fig. 3, Alg. 1). Pure functions.

A layer has two modules, one that looks at its input x_{l-1} (forward) and one that looks at the gradient at its output
g(y_l) (backward). Each is two fully-connected layers of as many units as there are channels.

A sample of the attention is an episode, whose time steps are its positions, or an image with its spatial positions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from metarl.policies.networks.network import Parameters

PREFIX = "attention."


@dataclass(frozen=True)
class Attention:
    """The clip ratios rho of the forward and the backward scores; 0 zeroes no channel, None leaves that module out.

    The scores weigh the weights' gradients alone, or the ``activations``: x_{l-1} itself before the layer takes it, and
    g(y_l) itself before it travels back (p-Meta, Appendix B.3).
    """

    forward_clip: float | None = 0.3
    backward_clip: float | None = 0.0
    weighs: Literal["gradients", "activations"] = "gradients"

    def clips(self) -> dict[str, float]:
        """The clip ratio of each module there is."""
        clips = {"forward": self.forward_clip, "backward": self.backward_clip}
        return {side: clip for side, clip in clips.items() if clip is not None}


class Samples(NamedTuple):
    """How a batch falls into the samples of the attention."""

    number: int  # they follow each other, each with as many positions
    valid: Tensor | None = None  # [sample * position], bool; None: all are
    together: int = 1  # so many in a row share the scores of their mean


def initial_attention(
    attention: Attention, channels: dict[str, tuple[int, int]], generator: torch.Generator
) -> Parameters:
    """The modules of every layer in ``channels`` (input and output channels by layer name).

    The second fully-connected layer starts at zero, so that all scores start at 1 before they are clipped.
    """
    parameters = {}
    for name, shape in attention_shapes(channels).items():
        side = name.split(".")[-3]
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


def summarize(tensor: Tensor, samples: Samples, per_position: bool) -> Tensor:
    """Each sample's mean over its positions [sample, channel]: what a module looks at.

    ``tensor`` is [image, channel, height, width] or [sample * position, channel]. Gradients are taken ``per_position``
    rather than per batch, that is times the number of positions of all samples, so that their size depends neither on
    the number of samples nor on that of positions.
    """
    spatial = tensor.dim() == 4
    by_sample = tensor.flatten(2).mT if spatial else tensor.view(samples.number, -1, tensor.shape[-1])
    if samples.valid is None:
        return (by_sample.shape[0] * by_sample.shape[1] if per_position else 1) * by_sample.mean(dim=1)
    unit = float(samples.valid.sum()) if per_position else 1.0
    weights = samples.valid.view(samples.number, -1, 1).to(tensor.dtype)
    return unit * (by_sample * weights).sum(dim=1) / weights.sum(dim=1)


def weigh_channels(tensor: Tensor, scores: Tensor, samples: Samples) -> Tensor:
    """The tensor, shaped as for ``summarize``, times the scores [sample, channel], or [channel] for all samples."""
    if tensor.dim() == 4:
        return tensor * scores[..., None, None]
    by_sample = tensor.view(samples.number, -1, tensor.shape[-1])
    return (by_sample * scores.unsqueeze(-2)).flatten(0, 1)


def attention_scores(
    parameters: Parameters, layer: str, side: str, summary: Tensor, clip: float, together: int = 1
) -> Tensor:
    """gamma [..., channel] of a module, from each sample's mean over its positions ``summary`` [..., channel].

    With ``together`` > 1, so many samples [sample, channel] in a row share their scores, which are those of the mean
    over them (Fig. 3). Differentiable: the clipping counts as the identity (straight-through estimator).
    """
    name = f"{PREFIX}{layer}.{side}"
    hidden = torch.relu(summary @ parameters[f"{name}.fc1.weight"].mT + parameters[f"{name}.fc1.bias"])
    logits = hidden @ parameters[f"{name}.fc2.weight"].mT + parameters[f"{name}.fc2.bias"]
    if together > 1:
        logits = torch.cat([batch.mean(dim=0).expand_as(batch) for batch in logits.split(together)])
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
