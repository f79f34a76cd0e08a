"""The exploration noise of the C runtime: normal numbers that depend on the seed, the step and the action alone."""

from __future__ import annotations

import math

_BITS = 0xFFFFFFFF


def noise_of(seed: int, step: int, action: int) -> float:
    """Return the noise of an action, as ``metarl_noise`` computes it in C: by the method of Box and Muller (1958)."""
    key = (_mixed(_mixed((seed + 0x9E3779B9) & _BITS) ^ step) + 2 * action) & _BITS
    radius = math.sqrt(-2 * math.log(_uniform(_mixed(key))))
    return radius * math.cos(2 * math.pi * _uniform(_mixed((key + 1) & _BITS)))


def _mixed(number: int) -> int:
    """Mix the bits of a number (C. Wellons, "lowbias32")."""
    number ^= number >> 16
    number = number * 0x7FEB352D & _BITS
    number ^= number >> 15
    number = number * 0x846CA68B & _BITS
    return number ^ number >> 16


def _uniform(number: int) -> float:
    return ((number >> 8) + 0.5) / 2**24
