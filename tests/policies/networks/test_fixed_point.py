"""Products with fractions, worked by hand, and rounding by chance that is right in the mean."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metarl.policies.networks.fixed_point import Dice, Fraction, by_chance, fraction, nearest, saturated


def test_fractions_worked_by_hand() -> None:
    assert fraction(0.75) == Fraction(3 * 2**29, 31)
    assert fraction(1.0) == Fraction(2**30, 30)
    assert fraction(3.0) == Fraction(3 * 2**29, 29)
    assert nearest(np.array([2, 3, -2, -3], np.int32), fraction(0.75)).tolist() == [2, 2, -1, -2]
    # 1.5 and -1.5: a half is rounded up.


@given(st.floats(1e-9, 2**29), st.integers(-(2**31) + 1, 2**31 - 1))
def test_a_product_is_within_half_a_unit_and_the_fractions_own_rounding(value: float, number: int) -> None:
    by = fraction(value)
    assert 0 < by.multiplier < 2**31
    assert 1 <= by.shift <= 62
    exact = number * value
    assert abs(int(nearest(np.array([number], np.int32), by)[0]) - exact) <= 0.5 + abs(exact) * 2.0**-30 + 1e-6


@pytest.mark.parametrize("value", [0.3, 0.011, 2.0**-20 * 1.3, 1.0, 5.7])
def test_rounding_by_chance_is_right_in_the_mean(value: float) -> None:
    by, count = fraction(value), 40_000
    for number in (7, -7, 1000, -123_457):
        rounded = by_chance(np.full(count, number, np.int32), by, Dice(number & 0xFF).roll((count,)))
        exact = number * value
        assert set(rounded.tolist()) <= {int(np.floor(exact - 1e-6)), int(np.floor(exact)), int(np.floor(exact)) + 1}
        share = exact - np.floor(exact)
        error = 4 * np.sqrt(max(share * (1 - share), 1e-6) / count)
        assert abs(float(rounded.mean()) - exact) < error + abs(exact) * 2.0**-30


def test_nothing_is_shifted_away_without_a_shift() -> None:
    numbers = np.array([5, -5], np.int32)
    assert by_chance(numbers, Fraction(1, 0), np.array([2**32 - 1, 0], np.uint32)).tolist() == [5, -5]


def test_the_same_seed_rolls_the_same_bits_however_they_are_asked_for() -> None:
    whole, parts = Dice(3), Dice(3)
    assert whole.roll((5, 4)).flatten().tolist() == [*parts.roll((8,)).tolist(), *parts.roll((3, 4)).flatten().tolist()]
    assert Dice(4).roll((4,)).tolist() != Dice(3).roll((4,)).tolist()


def test_bits_are_those_of_a_counter_whose_bits_are_mixed() -> None:
    """An independent formulation, one number after the other as in C."""

    def mixed(number: int) -> int:
        number ^= number >> 16
        number = number * 0x7FEB352D % 2**32
        number ^= number >> 15
        number = number * 0x846CA68B % 2**32
        return number ^ number >> 16

    state, expected = mixed(11), []
    for _ in range(6):
        state = (state + 0x9E3779B9) % 2**32
        expected.append(mixed(state))
    assert Dice(11).roll((2, 3)).flatten().tolist() == expected


def test_numbers_beyond_a_type_become_its_largest() -> None:
    assert saturated(np.array([-129, -128, 127, 128]), np.int8).tolist() == [-127, -127, 127, 127]
    assert saturated(np.array([-40_000, 40_000]), np.int16).tolist() == [-32_767, 32_767]
