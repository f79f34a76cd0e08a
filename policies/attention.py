"""Meta attention: which channels of a layer a task updates (p-Meta, Sec. 3.3, Fig. 3, Alg. 1). Pure functions.

A layer has two modules: the forward one takes its input x_{l-1}, the backward one the gradient at its output g(y_l).
Each is two linear layers with one unit per channel.

A sample of the attention is an episode, whose time steps are its positions, or an image with its spatial positions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from metarl.policies.networks.layers import Layer
from metarl.policies.networks.network import Parameters

PREFIX = "attention."

Side = Literal["forward", "backward"]
SIDES: tuple[Side, ...] = ("forward", "backward")


@dataclass(frozen=True)
class Attention:
    """The clip ratios rho of the forward and the backward scores; 0 zeroes no channel, None leaves that module out.

    The scores weigh the weights' gradients alone, or the ``activations``: x_{l-1} before the layer takes it, and g(y_l)
    before the backward pass goes on (p-Meta, Appendix B.3).
    """

    forward_clip: float | None = 0.3
    backward_clip: float | None = 0.0
    weighs: Literal["gradients", "activations"] = "gradients"

    def clips(self) -> dict[str, float]:
        """Return the clip ratio of each module, by side."""
        clips = {"forward": self.forward_clip, "backward": self.backward_clip}
        return {side: clip for side, clip in clips.items() if clip is not None}


class Samples(NamedTuple):
    """How the rows of a batch divide into the samples of the attention."""

    number: int  # samples, one after the other, each with the same number of positions
    valid: Tensor | None = None  # [sample * position], bool; None: all are valid
    together: int = 1  # consecutive samples that share the scores of their mean


def initial_attention(attention: Attention, layers: Sequence[Layer], generator: torch.Generator) -> Parameters:
    """Return the initial modules of each of ``layers``.

    The second linear layer starts at zero, so that all scores start at 1 before they are clipped.
    """
    parameters = {}
    for name, shape in attention_shapes(layers, tuple(attention.clips())).items():
        uniform = torch.rand(shape, generator=generator) * 2 - 1
        parameters[name] = uniform / math.sqrt(shape[-1]) if name.endswith("fc1.weight") else torch.zeros(shape)
    return parameters


def attention_shapes(layers: Sequence[Layer], sides: Sequence[str] = SIDES) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the parameters of the modules on these sides of each of ``layers``, by name."""
    return {
        f"{PREFIX}{layer.name}.{side}.{part}.{kind}": (size, size) if kind == "weight" else (size,)
        for layer in layers
        for side, size in (("forward", layer.inputs), ("backward", layer.outputs))
        if side in sides
        for part in ("fc1", "fc2")
        for kind in ("weight", "bias")
    }


def summarize(tensor: Tensor, samples: Samples, per_position: bool) -> Tensor:
    """Return each sample's mean over its positions [sample, channel]: the input of a module.

    ``tensor`` is [image, channel, height, width] or [sample * position, channel]. For gradients ``per_position``
    multiplies by the number of positions of all samples, so that their size depends neither on the number of samples
    nor on the number of positions.
    """
    spatial = tensor.dim() == 4
    by_sample = tensor.flatten(2).mT if spatial else tensor.view(samples.number, -1, tensor.shape[-1])
    if samples.valid is None:
        return (by_sample.shape[0] * by_sample.shape[1] if per_position else 1) * by_sample.mean(dim=1)
    unit = float(samples.valid.sum()) if per_position else 1.0
    weights = samples.valid.view(samples.number, -1, 1).to(tensor.dtype)
    return unit * (by_sample * weights).sum(dim=1) / weights.sum(dim=1)


def weigh_channels(tensor: Tensor, scores: Tensor, samples: Samples) -> Tensor:
    """Multiply a tensor, shaped as for ``summarize``, by scores [sample, channel], or [channel] for all samples."""
    if tensor.dim() == 4:
        return tensor * scores[..., None, None]
    by_sample = tensor.view(samples.number, -1, tensor.shape[-1])
    return (by_sample * scores.unsqueeze(-2)).flatten(0, 1)


def attention_scores(
    parameters: Parameters, layer: str, side: str, summary: Tensor, clip: float, together: int = 1
) -> Tensor:
    """Return the scores gamma [..., channel] of a module; differentiable with a straight-through clipping.

    Args:
        parameters: the attention modules' parameters, among others.
        layer: the layer's name.
        side: ``forward`` or ``backward``.
        summary: each sample's mean over its positions [..., channel].
        clip: the clip ratio rho.
        together: with more than 1, that many consecutive samples share the scores of their mean (Fig. 3); the summary
            is [sample, channel] then.

    Returns:
        The scores [..., channel], with a mean of 1 over the channels.
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
    """Zero the smallest of the shares [..., channel], which sum to 1, and scale the others to a mean of 1 (Alg. 1).

    The smallest shares are zeroed up to and including the one at which their running sum reaches ``clip``; equal shares
    in the order of their channels, and never the largest. A clip of 0 zeroes nothing.
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
