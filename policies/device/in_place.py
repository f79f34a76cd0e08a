"""Products and activations that reuse the memory of what they replace, one row at a time (p-Meta, Appendix A).

Nothing here needs more than a row beside its arguments. That rules out what NumPy does behind the scenes: an operation
between a matrix and a broadcast vector fills a hidden buffer of 8192 numbers, so rows are looped over instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from metarl.policies.device.meter import Meter

FloatArray = NDArray[np.float32]
Bits = NDArray[np.uint8]

_PLACES = np.array([1, 2, 4, 8, 16, 32, 64, 128], np.uint8)


@dataclass(frozen=True)
class ActivationBuffer:
    """The tensor [rows, width] that passes from layer to layer, in the first words of ``memory`` [word]."""

    memory: FloatArray
    rows: int
    width: int

    @property
    def words(self) -> FloatArray:
        return self.memory[: self.rows * self.width]

    @property
    def matrix(self) -> FloatArray:
        return self.words.reshape(self.rows, self.width)


def multiply_in_place(tensor: ActivationBuffer, matrix: FloatArray, row: FloatArray) -> ActivationBuffer:
    """``tensor @ matrix`` in the memory of ``tensor``, which must be large enough for it."""
    product = replace(tensor, width=matrix.shape[1])
    old, new, row = tensor.matrix, product.matrix, row[: product.width]
    # Wider rows are written from the last one on, narrower from the first: none is overwritten before it was read.
    order = range(tensor.rows) if product.width <= tensor.width else reversed(range(tensor.rows))
    for index in order:
        np.matmul(old[index], matrix, out=row)
        new[index] = row
    return product


def multiply_into(memory: FloatArray, tensor: ActivationBuffer, matrix: FloatArray) -> ActivationBuffer:
    """``tensor @ matrix`` in another memory."""
    product = ActivationBuffer(memory, tensor.rows, matrix.shape[1])
    np.matmul(tensor.matrix, matrix, out=product.matrix)
    return product


def add_to_rows(tensor: ActivationBuffer, vector: FloatArray) -> None:
    """Adds a vector [width] to every row."""
    for row in tensor.matrix:
        np.add(row, vector, out=row)


def rectify(tensor: ActivationBuffer) -> None:
    """ReLU."""
    np.maximum(tensor.words, 0, out=tensor.words)


def leak(tensor: ActivationBuffer, slope: float, row: FloatArray) -> None:
    """LeakyReLU."""
    for _, words in _pieces(tensor, row):
        below = row.view(np.bool_)[: len(words)]
        np.multiply(words, slope, out=words, where=np.less_equal(words, 0, out=below))


def blocked_bits(tensor: ActivationBuffer, row: FloatArray, meter: Meter) -> Bits:
    """One bit per number: whether a ReLU blocks it, and with it the gradient on its way back."""
    bits = meter.count(np.empty(-(-len(tensor.words) // 8), np.uint8))
    for piece, words in _pieces(tensor, row):
        flags = row.view(np.uint8)[: 8 * len(bits[piece])]
        flags[-8:] = 0  # the last byte may be longer than the tensor
        np.less_equal(words, 0, out=flags[: len(words)].view(np.bool_))
        np.matmul(flags.reshape(-1, 8), _PLACES, out=bits[piece])
    return bits


def block(tensor: ActivationBuffer, bits: Bits, row: FloatArray, slope: float = 0.0) -> None:
    """Multiplies the numbers whose bits are set by the activation's slope below zero."""
    for piece, words in _pieces(tensor, row):
        flags = row.view(np.uint8)[: 8 * len(bits[piece])].reshape(-1, 8)
        for place in range(8):
            np.bitwise_and(bits[piece], _PLACES[place], out=flags[:, place])
        mask = np.not_equal(flags, 0, out=flags.view(np.bool_))
        np.multiply(words, slope, out=words, where=mask.reshape(-1)[: len(words)])


def _pieces(tensor: ActivationBuffer, row: FloatArray) -> Iterator[tuple[slice, FloatArray]]:
    """Stretches of the tensor with their bytes of bits; the flags of one, a byte each, have room in ``row``."""
    size = row.nbytes - row.nbytes % 8
    for start in range(0, len(tensor.words), size):
        words = tensor.words[start : start + size]
        yield slice(start // 8, -(-(start + len(words)) // 8)), words
