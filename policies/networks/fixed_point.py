"""Arithmetic of integers: products with fractions, rounding to the nearest and by chance.

A positive fraction is a whole number below 2^31 divided by a power of two, so that a product of a 32-bit sum with it is
a 64-bit product and a shift. Python and C compute the same integers.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[Any]
_GOLDEN = 0x9E3779B9  # the odd number nearest to 2^32 over the golden ratio


class Fraction(NamedTuple):
    """The number ``multiplier / 2**shift``."""

    multiplier: int  # below 2^31
    shift: int  # 1 to 62


def fraction(value: float) -> Fraction:
    """Return the fraction nearest to a number from 0 on and below 2^30."""
    mantissa, exponent = math.frexp(value)
    multiplier, shift = round(mantissa * 2**31), 31 - exponent
    if multiplier == 2**31:
        multiplier, shift = 2**30, shift - 1
    if shift > 62:  # below 2^-31: what it is multiplied with leaves next to nothing
        multiplier, shift = multiplier >> min(shift - 62, 31), 62
    return Fraction(multiplier, shift)


def nearest(sums: Integers, by: Fraction) -> Integers:
    """Return int32 ``sums`` times a fraction, to the nearest whole number; a half is rounded up."""
    return (sums.astype(np.int64) * by.multiplier + (1 << (by.shift - 1))) >> by.shift


def by_chance(sums: Integers, by: Fraction, bits: Integers) -> Integers:
    """Return int32 ``sums`` times a fraction, rounded up as often as the remainder is large: right in the mean.

    Args:
        sums: The integers.
        by: The fraction.
        bits: Random uint32 of the same shape.
    """
    places = bits.astype(np.int64)
    places = places << (by.shift - 32) if by.shift >= 32 else places >> (32 - by.shift)
    return (sums.astype(np.int64) * by.multiplier + places) >> by.shift


def saturated(values: Integers, dtype: type[np.integer[Any]]) -> Integers:
    """Return whole numbers in a narrower type, the largest in place of those beyond it; -128 is not used."""
    largest = int(np.iinfo(dtype).max)
    return np.clip(values, -largest, largest).astype(dtype)


class Dice:
    """Random bits for stochastic rounding: a counter whose bits are mixed, the same in Python and C."""

    def __init__(self, seed: int) -> None:
        """Begin the sequence of a seed from 0 on."""
        self.state = int(_mixed(np.array([seed & 0xFFFFFFFF], np.uint64))[0])

    def roll(self, shape: tuple[int, ...]) -> Integers:
        """Return the next random uint32 of that shape, in row-major order."""
        count = math.prod(shape)
        steps = np.arange(1, count + 1, dtype=np.uint64)
        bits = _mixed((self.state + steps * np.uint64(_GOLDEN)) & np.uint64(0xFFFFFFFF))
        self.state = (self.state + count * _GOLDEN) & 0xFFFFFFFF
        return bits.astype(np.uint32).reshape(shape)


def _mixed(numbers: Integers) -> Integers:
    """Mix the bits of uint32 held in uint64 (C. Wellons, "lowbias32")."""
    mask = np.uint64(0xFFFFFFFF)
    numbers = numbers ^ (numbers >> np.uint64(16))
    numbers = numbers * np.uint64(0x7FEB352D) & mask
    numbers = numbers ^ (numbers >> np.uint64(15))
    numbers = numbers * np.uint64(0x846CA68B) & mask
    return numbers ^ (numbers >> np.uint64(16))
