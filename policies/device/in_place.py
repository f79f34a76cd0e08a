"""Products and activations that reuse the memory of what they replace, one row at a time (p-Meta, Appendix A).

No function needs more than a row beside its arguments. That rules out what NumPy does behind the scenes: an operation
between a matrix and a broadcast vector fills a hidden buffer of up to 8192 numbers. PyTorch's do not.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
Bits = NDArray[np.uint8]

_VALUES = np.array([1, 2, 4, 8, 16, 32, 64, 128], np.uint8)  # of the bits of a byte
_BITS_OF_BYTES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little").view(np.bool_)


def multiply_in_place(tensor: FloatArray, matrix: FloatArray, product: FloatArray, row: FloatArray) -> None:
    """Compute ``tensor @ matrix.T`` in the memory of the tensor.

    Args:
        tensor: [row, input].
        matrix: [output, input].
        product: [row, output], starting at the first byte of ``tensor``.
        row: Working memory for at least one row of the product; more of them are computed at a time.
    """
    outputs = len(matrix)
    at_once = len(row) // outputs
    blocks = range(0, len(tensor), at_once)
    # Wider rows are written from the last one on, narrower from the first: none is overwritten before it was read.
    for start in blocks if product.shape[1] <= tensor.shape[1] else reversed(blocks):
        block = product[start : start + at_once]
        result = row[: block.size].reshape(block.shape)
        if len(block) == 1:
            np.matmul(matrix, tensor[start], out=result[0])
        else:
            np.matmul(tensor[start : start + at_once], matrix.T, out=result)
        block[:] = result


def add_to_rows(tensor: FloatArray, vector: FloatArray) -> None:
    """Add a vector [width] to every row of a tensor [row, width]."""
    torch.from_numpy(tensor).add_(torch.from_numpy(vector))


def scale_columns(tensor: FloatArray, factors: FloatArray) -> None:
    """Multiply the columns of a tensor [row, width] by factors [width]."""
    torch.from_numpy(tensor).mul_(torch.from_numpy(factors))


def scale_rows(tensor: FloatArray, factors: FloatArray) -> None:
    """Multiply the rows of a tensor [row, width] by factors [row]."""
    torch.from_numpy(tensor).mul_(torch.from_numpy(factors)[:, None])


def rectify(words: FloatArray) -> None:
    """Apply the ReLU."""
    np.maximum(words, 0, out=words)


def leak(words: FloatArray, slope: float, row: FloatArray) -> None:
    """Apply the leaky ReLU with this ``slope`` below zero."""
    for _, piece in _pieces(words, row):
        below = row.view(np.bool_)[: len(piece)]
        np.multiply(piece, slope, out=piece, where=np.less_equal(piece, 0, out=below))


def bytes_of_bits(count: int) -> int:
    """Return the bytes that hold one bit for each of ``count`` numbers."""
    return -(-count // 8)


def block_bits(words: FloatArray, bits: Bits, row: FloatArray) -> None:
    """Note in one bit per number whether a ReLU blocks it, and with it the gradient in the backward pass."""
    for place, piece in _pieces(words, row):
        flags = row.view(np.bool_)[: 8 * len(bits[place])]
        np.less_equal(piece, 0, out=flags[: len(piece)])
        flags[len(piece) :] = False
        np.matmul(flags.view(np.uint8).reshape(-1, 8), _VALUES, out=bits[place])


def block(words: FloatArray, bits: Bits, row: FloatArray, slope: float = 0.0) -> None:
    """Multiply the numbers whose bits are set by the slope of the activation below zero.

    Args:
        words: A gradient [number], changed in place.
        bits: A bit per number: set where the activation was below zero.
        row: Working memory for some numbers.
        slope: The activation's slope below zero.
    """
    for place, piece in _pieces(words, row):
        blocked = row.view(np.bool_)[: 8 * len(bits[place])].reshape(-1, 8)
        np.take(_BITS_OF_BYTES, bits[place], axis=0, out=blocked, mode="clip")
        np.multiply(piece, slope, out=piece, where=blocked.reshape(-1)[: len(piece)])


def _pieces(words: FloatArray, row: FloatArray) -> Iterator[tuple[slice, FloatArray]]:
    """Yield pieces of the words and the places of their bits; the flags of a piece, a byte each, fit into ``row``."""
    size = row.nbytes - row.nbytes % 8
    for start in range(0, len(words), size):
        piece = words[start : start + size]
        yield slice(start // 8, bytes_of_bits(start + len(piece))), piece
