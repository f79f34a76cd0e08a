"""Products and activations in place: the same numbers as NumPy's plain ones, and no memory beside a row."""

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metarl.policies.device.in_place import (
    ActivationBuffer,
    add_to_rows,
    block,
    blocked_bits,
    multiply_in_place,
    multiply_into,
    rectify,
)
from metarl.policies.device.meter import Meter


def activations(rows: int, width: int, room: int, seed: int = 0) -> ActivationBuffer:
    words = np.random.default_rng(seed).standard_normal(rows * max(width, room), dtype=np.float32)
    return ActivationBuffer(words, rows, width)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**31 - 1))
def test_products(rows: int, inputs: int, outputs: int, seed: int) -> None:
    tensor = activations(rows, inputs, outputs, seed)
    matrix = np.random.default_rng(seed + 1).standard_normal((inputs, outputs), dtype=np.float32)
    expected = tensor.matrix @ matrix
    beside = multiply_into(np.empty(rows * outputs, np.float32), tensor, matrix)
    within = multiply_in_place(tensor, matrix, np.empty(9, np.float32))
    assert within.memory is tensor.memory
    np.testing.assert_allclose(beside.matrix, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(within.matrix, expected, rtol=1e-5, atol=1e-6)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(2, 20), st.integers(0, 2**31 - 1))
def test_a_gradient_passes_where_the_relu_did(rows: int, width: int, room: int, seed: int) -> None:
    row, meter = np.empty(room, np.float32), Meter()
    output = activations(rows, width, width, seed)
    output.matrix[0, 0] = 0  # counts as blocked
    before = output.matrix.copy()
    bits = blocked_bits(output, row, meter)
    assert bits.nbytes == meter.alive == -(-rows * width // 8)
    rectify(output)
    np.testing.assert_array_equal(output.matrix, np.maximum(before, 0))
    gradient = activations(rows, width, width, seed + 1)
    expected = np.where(before > 0, gradient.matrix, 0)
    block(gradient, bits, row)
    np.testing.assert_array_equal(gradient.matrix, expected)


def test_add_to_rows_by_hand() -> None:
    tensor = ActivationBuffer(np.array([1, 2, 3, 4, 5, 6, 99], np.float32), rows=3, width=2)
    add_to_rows(tensor, np.array([10, 20], np.float32))
    assert tensor.memory.tolist() == [11, 22, 13, 24, 15, 26, 99]


ROW, TENSOR, MATRIX = np.ones(512, np.float32), activations(400, 512, 512), np.eye(512, dtype=np.float32)
BITS = blocked_bits(TENSOR, ROW, Meter())


@pytest.mark.parametrize(
    "operation",
    [
        lambda: multiply_in_place(TENSOR, MATRIX, ROW),
        lambda: multiply_into(TENSOR.memory.copy(), TENSOR, MATRIX),
        lambda: add_to_rows(TENSOR, ROW),
        lambda: rectify(TENSOR),
        lambda: blocked_bits(TENSOR, ROW, Meter()),
        lambda: block(TENSOR, BITS, ROW),
    ],
    ids=["multiply_in_place", "multiply_into", "add_to_rows", "rectify", "blocked_bits", "block"],
)
def test_no_memory_beside_a_row(operation: Callable[[], object]) -> None:
    """NumPy's allocator is watched; what an operation shall allocate (a result) is taken off."""
    operation()
    tracemalloc.start()
    kept = operation()
    current, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del kept
    assert peak - current < ROW.nbytes + 2_000
