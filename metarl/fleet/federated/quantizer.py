"""The symmetric quantizer of FedAQT, and the gradient relay that makes up for what clients cannot know.

Source: an accurate quantized training framework for federated learning (FedAQT), eqs. 3.1 to 3.4.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Quantized(NamedTuple):
    """A tensor as whole numbers and one scale; each number stands for ``scale`` times itself."""

    integers: Tensor  # int8, or int16 above 8 bits
    scale: Tensor  # without axes

    def floats(self) -> Tensor:
        """Return the numbers that the integers stand for, w_q = s q."""
        return self.scale * self.integers.to(self.scale.dtype)


def largest_integer(bits: int) -> int:
    """Return 2^(bits - 1) - 1, the largest integer of a symmetric quantizer."""
    return int(2 ** (bits - 1)) - 1


def quantize(weights: Tensor, bits: int, generator: torch.Generator | None = None) -> Quantized:
    """Return q = round(w / s) with s = max |w| / (2^(bits - 1) - 1), or s = 1 where all weights are zero.

    Args:
        weights: w, any shape.
        bits: At least 2 and at most 16.
        generator: Rounds up by chance, with the fraction as its probability, so that the mean of s q is w; without one
            the nearest integer is taken.
    """
    largest = largest_integer(bits)
    peak = weights.detach().abs().amax()
    scale = torch.where(peak > 0, peak / largest, torch.ones_like(peak))
    steps = weights.detach() / scale
    if generator is None:
        rounded = steps.round()
    else:
        rounded = (steps + torch.rand(steps.shape, generator=generator, dtype=steps.dtype)).floor()
    dtype = torch.int8 if bits <= 8 else torch.int16
    return Quantized(rounded.clamp(-largest, largest).to(dtype), scale)


def relay(gradient: Tensor, weights: Tensor, bits: int) -> Tensor:
    """Return dL/dw from g = dL/dw_q, where the scale follows the weights (eqs. 3.2 and 3.3).

    dL/dw = g + sign(w) [w]_max / (2^(bits - 1) - 1) * sum(g (q - w / s)), with [w]_max = 1 at the weight of largest
    magnitude, 0 elsewhere, and shared equally by several of that magnitude. It is linear in g, so that it can be
    applied to the clients' mean, and changes the largest weights' gradients alone.

    Args:
        gradient: g, the shape of the weights.
        weights: w, which the server alone has.
        bits: Of the quantizer.
    """
    magnitude = weights.abs()
    at_peak = (magnitude == magnitude.amax()).to(weights.dtype)
    quantized = quantize(weights, bits)
    rounding = quantized.integers - weights / quantized.scale
    at_scale = (gradient * rounding).sum() / largest_integer(bits)
    return gradient + at_scale * weights.sign() * at_peak / at_peak.sum()


def pack(integers: Tensor, bits: int) -> Tensor:
    """Return the integers [n] as uint8 [ceil(n bits / 8)], of 2, 4 or 8 bits each, the first in the lowest bits."""
    per_byte = 8 // bits
    codes = integers.flatten().to(torch.int16).bitwise_and(2**bits - 1)
    padded = torch.zeros(-(-len(codes) // per_byte) * per_byte, dtype=torch.int16)
    padded[: len(codes)] = codes
    shifted = padded.view(-1, per_byte) << (torch.arange(per_byte, dtype=torch.int16) * bits)
    return shifted.sum(dim=1).to(torch.uint8)


def unpack(packed: Tensor, bits: int, shape: tuple[int, ...]) -> Tensor:
    """Return the int8 integers of that shape from ``pack``."""
    codes = (packed.to(torch.int16)[:, None] >> (torch.arange(8 // bits, dtype=torch.int16) * bits)) & (2**bits - 1)
    signed = torch.where(codes >= 2 ** (bits - 1), codes - 2**bits, codes).flatten()
    return signed[: torch.Size(shape).numel()].to(torch.int8).view(shape)
