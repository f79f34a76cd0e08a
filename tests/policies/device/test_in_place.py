"""Products and activations in place: the same numbers as NumPy's plain ones, and no memory beside a row."""

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metarl.policies.device.in_place import (
    FloatArray,
    add_to_rows,
    block,
    block_bits,
    bytes_of_bits,
    leak,
    multiply_in_place,
    rectify,
    scale_columns,
    scale_rows,
)


def normal(*shape: int, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.integers(0, 2**31 - 1))
def test_products(rows: int, inputs: int, outputs: int, at_once: int, seed: int) -> None:
    memory = np.empty(rows * max(inputs, outputs), np.float32)
    tensor, product = (memory[: rows * width].reshape(rows, width) for width in (inputs, outputs))
    tensor[:] = normal(rows, inputs, seed=seed)
    matrix = normal(outputs, inputs, seed=seed + 1)
    expected = tensor @ matrix.T
    multiply_in_place(tensor, matrix, product, np.empty(at_once * outputs, np.float32))
    np.testing.assert_allclose(product, expected, rtol=1e-5, atol=1e-6)


@given(st.integers(1, 81), st.integers(2, 20), st.integers(0, 2**31 - 1))
def test_a_gradient_passes_where_the_relu_did(size: int, room: int, seed: int) -> None:
    row, output = np.empty(room, np.float32), normal(size, seed=seed)
    output[0] = 0  # counts as blocked
    before = output.copy()
    bits = np.full(bytes_of_bits(size), 255, np.uint8)
    assert bits.nbytes == -(-size // 8)
    block_bits(output, bits, row)
    rectify(output)
    np.testing.assert_array_equal(output, np.maximum(before, 0))
    gradient = normal(size, seed=seed + 1)
    expected = np.where(before > 0, gradient, 0)
    leaky = np.where(before > 0, gradient, np.float32(0.1) * gradient)
    other = gradient.copy()
    block(gradient, bits, row)
    np.testing.assert_array_equal(gradient, expected)
    block(other, bits, row, slope=0.1)
    np.testing.assert_array_equal(other, leaky)


def test_a_vector_meets_every_row_by_hand() -> None:
    tensor = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    add_to_rows(tensor, np.array([10, 20], np.float32))
    assert tensor.tolist() == [[11, 22], [13, 24], [15, 26]]
    scale_columns(tensor, np.array([2, 0], np.float32))
    assert tensor.tolist() == [[22, 0], [26, 0], [30, 0]]
    scale_rows(tensor, np.array([1, 0, -1], np.float32))
    assert tensor.tolist() == [[22, 0], [0, 0], [-30, 0]]


ROW, TENSOR, MATRIX = np.ones(512, np.float32), normal(400, 512), np.eye(512, dtype=np.float32)
BITS = np.empty(bytes_of_bits(TENSOR.size), np.uint8)


@pytest.mark.parametrize(
    "operation",
    [
        lambda: multiply_in_place(TENSOR, MATRIX, TENSOR, ROW),
        lambda: add_to_rows(TENSOR, ROW),
        lambda: scale_columns(TENSOR, ROW),
        lambda: scale_rows(TENSOR, ROW[: len(TENSOR)]),
        lambda: rectify(TENSOR.reshape(-1)),
        lambda: leak(TENSOR.reshape(-1), 0.1, ROW),
        lambda: block_bits(TENSOR.reshape(-1), BITS, ROW),
        lambda: block(TENSOR.reshape(-1), BITS, ROW),
    ],
    ids=[
        "multiply_in_place",
        "add_to_rows",
        "scale_columns",
        "scale_rows",
        "rectify",
        "leak",
        "block_bits",
        "block",
    ],
)
def test_no_memory_beside_a_row(operation: Callable[[], object]) -> None:
    operation()
    peaks = []
    for _ in range(3):  # other threads of the test runner may allocate during one of them
        tracemalloc.start()
        operation()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert min(peaks) < ROW.nbytes + 2_000
