"""Positions as a Rice code: by hand, there and back, as short as the entropy allows, and damaged."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metarl.core.errors import Refusal
from metarl.fleet.scores import entropy_bits
from metarl.policies.files.rice import decode, encode


def test_a_code_worked_out_by_hand() -> None:
    # Gaps 2, 0, 5. With k = 1: 10|0 -> "10" "0", "0" "0", "110" "1"; 3 + 2 + 4 bits. k = 0 takes 3 + 1 + 6 = 10 bits.
    code = encode(np.array([2, 3, 9]))
    assert code.tolist() == [1, 0b10000110, 0b10000000]
    assert decode(code, 3, 10).tolist() == [2, 3, 9]


@given(st.sets(st.integers(0, 5000), max_size=300), st.integers(0, 3))
def test_there_and_back(chosen: set[int], more: int) -> None:
    positions = np.array(sorted(chosen), np.int64)
    size = int(positions.max()) + 1 + more if chosen else more
    assert decode(encode(positions), len(positions), size).tolist() == positions.tolist()


@pytest.mark.parametrize("share", [0.005, 0.05, 0.2])
def test_random_positions_take_little_more_than_their_entropy(share: float) -> None:
    size, random = 100_000, np.random.default_rng(0)
    bits = []
    for _ in range(5):
        positions = np.flatnonzero(random.random(size) < share)
        bits.append(8 * len(encode(positions)) / entropy_bits(len(positions), size))
    assert 1 <= np.mean(bits) <= 1.05


@pytest.mark.parametrize(("share", "ratio"), [(0.005, 0.00642), (0.01, 0.01252), (0.05, 0.05895), (0.2, 0.22256)])
def test_the_entropy_gives_the_ratios_of_the_bound(share: float, ratio: float) -> None:
    size = 1_000_000
    assert share + entropy_bits(round(share * size), size) / size / 32 == pytest.approx(ratio, abs=5e-6)


@pytest.mark.parametrize(
    ("code", "count", "sentence"),
    [
        ([], 3, "cut off or damaged"),
        ([1, 0b10000110], 3, "cut off or damaged"),
        ([40, 0b10000110, 128], 3, "cut off or damaged"),
        ([1, 0b10000110, 0b10000000], 2, "more positions"),
        ([1, 0b10000110, 0b10000000, 0], 3, "more positions"),
        ([1, 0b10000110, 0b10000001], 3, "more positions"),
        ([1], 0, "positions of no numbers"),
        ([31, 0b01111111, 255, 255, 255], 1, "changes the number 2147483647, and there are 10"),
    ],
)
def test_damaged_codes_are_refused(code: list[int], count: int, sentence: str) -> None:
    with pytest.raises(Refusal, match=sentence):
        decode(np.array(code, np.uint8), count, 10)
