"""Positions of a few numbers among many, as the Rice code of the gaps between them.

A gap is the count of numbers skipped. Its code is gap >> k ones, a zero, and the lowest k bits of the gap, the highest
of them first. The first byte is k; the bits follow, the highest of a byte first, zeros after the last code (Rice and
Plaunt, 1971). For random positions it takes a few percent more than their entropy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from metarl.core.errors import Refusal

Positions = NDArray[np.int64]
MOST_BITS = 31  # of k, and so of what a code has behind its zero


def encode(positions: Positions) -> NDArray[np.uint8]:
    """Return the shortest code of ascending positions [n] from 0 on; no bytes if there are none."""
    if not len(positions):
        return np.zeros(0, np.uint8)
    gaps = np.diff(positions, prepend=-1) - 1
    k = min(range(MOST_BITS + 1), key=lambda bits: int((gaps >> bits).sum()) + bits * len(gaps))
    quotients = gaps >> k
    lengths = quotients + 1 + k
    ends = np.cumsum(lengths)
    bits = np.zeros(int(ends[-1]), np.uint8)
    # The ones of a code are between its start and its zero.
    edges = np.zeros(len(bits) + 1, np.int64)
    np.add.at(edges, ends - lengths, 1)
    np.add.at(edges, ends - lengths + quotients, -1)
    bits[:] = np.cumsum(edges)[:-1]
    for place in range(k):
        bits[ends - 1 - place] = (gaps >> place) & 1
    return np.concatenate([np.array([k], np.uint8), np.packbits(bits)])


def decode(code: NDArray[np.uint8], count: int, size: int) -> Positions:
    """Return the positions [count], all below ``size``; raise Refusal if the code is not that of as many."""
    if not count:
        if len(code):
            raise Refusal("the patch has positions of no numbers")
        return np.zeros(0, np.int64)
    k = int(code[0]) if len(code) else MOST_BITS + 1
    bits = np.unpackbits(code[1:])
    zeros = np.flatnonzero(bits == 0)
    weights = 1 << np.arange(k - 1, -1, -1, dtype=np.int64) if k <= MOST_BITS else np.zeros(0, np.int64)
    positions, place, last = np.zeros(count, np.int64), 0, -1
    for number in range(count):
        index = int(np.searchsorted(zeros, place))
        if k > MOST_BITS or index == len(zeros) or zeros[index] + 1 + k > len(bits):
            raise Refusal(f"the patch's positions are cut off or damaged: there must be {count}")
        zero = int(zeros[index])
        last += 1 + ((zero - place) << k) + int(bits[zero + 1 : zero + 1 + k] @ weights)
        if last >= size:
            raise Refusal(f"the patch changes the number {last}, and there are {size}")
        positions[number], place = last, zero + 1 + k
    if len(bits) - place > 7 or bits[place:].any():
        raise Refusal(f"the patch has more positions than the {count} that it should")
    return positions
