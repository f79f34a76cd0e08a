"""Meta attention: which channels of a layer a task updates (p-Meta, Sec. 3.3, Fig. 3, Alg. 1). Pure functions.

A layer has two modules: the forward one takes its input x_{l-1}, the backward one the gradient at its output g(y_l).
Each is two linear layers with ``rank`` units between them.

The logits may have a bound b, l -> b l / (b + |l|). Without one they grow until a few channels take the whole step, the
others are starved, and the policy stops learning. With one, no score exceeds another by a factor above e^(2b), and a
layer keeps at least about the share 1 / (1 + e^(2b) rho / (1 - rho)) of its channels. Bounded modules also take scores
that nearly agree for equal when they are clipped, so that modules that have learned nothing drop nothing.

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
ATTENTION_BOUND = "attention_bound"  # b, a number; where it is missing, logits are not bounded
NEARLY = 0.9  # of the smallest share kept: what reaches it is kept, too, by bounded modules

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


class Modules(NamedTuple):
    """How attention modules are made: the units between their two layers, one per channel if None, and b, if any."""

    rank: int | None = None
    bound: float | None = None


PAPERS_MODULES = Modules()


class Samples(NamedTuple):
    """How the rows of a batch divide into the samples of the attention."""

    number: int  # samples, one after the other, each with the same number of positions
    valid: Tensor | None = None  # [sample * position], bool; None: all are valid
    together: int = 1  # consecutive samples that share the scores of their mean


def initial_attention(
    attention: Attention, layers: Sequence[Layer], generator: torch.Generator, modules: Modules
) -> Parameters:
    """Return the initial modules of each of ``layers``.

    The second linear layer starts at zero, so that all scores start at 1.

    Args:
        attention: The sides that have modules.
        layers: The layers that are attended.
        generator: The source of the first linear layers' weights.
        modules: How the modules are made.

    Returns:
        Their parameters by name, with the bound of their logits if there is one.
    """
    parameters = {}
    for name, shape in attention_shapes(layers, tuple(attention.clips()), modules.rank).items():
        uniform = torch.rand(shape, generator=generator) * 2 - 1
        parameters[name] = uniform / math.sqrt(shape[-1]) if name.endswith("fc1.weight") else torch.zeros(shape)
    if modules.bound is not None:
        parameters[ATTENTION_BOUND] = torch.tensor(modules.bound)
    return parameters


def attention_shapes(
    layers: Sequence[Layer], sides: Sequence[str] = SIDES, rank: int | None = None
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the parameters of the modules on these sides of each of ``layers``, by name.

    A module has ``rank`` hidden units, at most one per channel, which is what None stands for.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in layers:
        for side, size in (("forward", layer.inputs), ("backward", layer.outputs)):
            if side not in sides:
                continue
            name, hidden = f"{PREFIX}{layer.name}.{side}", min(rank or size, size)
            shapes |= {f"{name}.fc1.weight": (hidden, size), f"{name}.fc1.bias": (hidden,)}
            shapes |= {f"{name}.fc2.weight": (size, hidden), f"{name}.fc2.bias": (size,)}
    return shapes


def attention_rank(parameters: Parameters) -> int | None:
    """Return the most hidden units of any module among the parameters; None if there is no module."""
    hidden = [
        len(tensor)
        for name, tensor in parameters.items()
        if name.startswith(PREFIX) and name.endswith("fc1.weight") and tensor.dim()
    ]
    return max(hidden, default=None)


def bounded(logits: Tensor, parameters: Parameters) -> Tensor:
    """Return b l / (b + |l|), of slope 1 at zero and within the bound b; the logits as they are if there is no b."""
    bound = parameters.get(ATTENTION_BOUND)
    return logits if bound is None else bound * logits / (bound + logits.abs())


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
    shares = torch.softmax(bounded(logits, parameters), dim=-1)
    dense = shares * shares.shape[-1]
    nearly = NEARLY if ATTENTION_BOUND in parameters else 1.0
    return dense + (clip_and_normalize(shares.detach(), clip, nearly) - dense).detach()


def clip_and_normalize(shares: Tensor, clip: float, nearly: float = 1.0) -> Tensor:
    """Zero the smallest of the shares [..., channel], which sum to 1, and scale the others to a mean of 1 (Alg. 1).

    The smallest shares are zeroed up to and including the one at which their running sum reaches ``clip``, but for
    those of at least ``nearly`` times the smallest one kept: which of equal channels is updated does not depend on
    their order. The largest is always kept. A clip of 0 zeroes nothing.
    """
    count = shares.shape[-1]
    if clip == 0:
        return shares * count
    ordered = torch.sort(shares, dim=-1).values
    below = torch.cumsum(ordered, dim=-1) - ordered
    first = (below < clip).sum(dim=-1, keepdim=True).clamp(max=count - 1)
    kept = shares.masked_fill(shares < nearly * ordered.gather(-1, first), 0.0)
    return kept / kept.sum(dim=-1, keepdim=True) * count
