"""What a search may change, as it is typed."""

from __future__ import annotations

import pytest

from metarl.core.errors import Refusal
from metarl.policies.methods import METHODS, REFERENCES
from metarl.rl.settings import TrainSettings, preset
from metarl.tuning.space import Choice, Range, check_space, parse_space, usual_space


def test_words_become_ranges_and_choices() -> None:
    words = ["step_size=0.01:1:log", "gae_lambda=0.9:1", "meta_batch_size=5:20", "gate=none/return", "max_kl=0.1/0.01"]
    assert parse_space([*words, "first_order=true/false"]) == (
        Range("step_size", 0.01, 1.0, log=True),
        Range("gae_lambda", 0.9, 1.0),
        Range("meta_batch_size", 5, 20, whole=True),
        Choice("gate", ("none", "return")),
        Choice("max_kl", (0.1, 0.01)),
        Choice("first_order", (True, False)),
    )
    assert [str(dimension) for dimension in parse_space(words)] == words


def test_drawn_numbers_have_few_digits_and_stay_in_their_range() -> None:
    inside = Range("max_kl", 0.123456, 0.223344)
    assert inside.rounded(0.1876543) == 0.1877
    assert inside.rounded(0.1234999) == 0.1235 and inside.rounded(0.22334399) == 0.2233
    assert Range("max_kl", 0.12342, 1.0).rounded(0.123421) == 0.12342
    assert Range("cg_iterations", 1, 20000, whole=True).rounded(12345) == 12345


@pytest.mark.parametrize("name", [*METHODS, *REFERENCES])
def test_what_is_searched_suits_the_method(name: str) -> None:
    settings = preset("navigation-2d", method=name)
    space = {dimension.name: dimension for dimension in usual_space(settings)}
    check_space(tuple(space.values()), settings)
    assert all(
        dimension.holds(getattr(TrainSettings(), name)) for name, dimension in space.items() if name != "step_size"
    )
    assert ("step_size" in space) == (name not in REFERENCES)
    if name in METHODS:
        assert space["step_size"].holds(settings.step_size)
    assert ("lasso" in space) == name.startswith("p-meta")
    assert ("attention_lr" in space) == ("attention_kl" in space) == (name == "p-meta")
    assert ("outer_lr" in space) == ("max_kl" not in space) == (name == "reptile")


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("step_sise=0.1:1", "unknown setting 'step_sise': did you mean 'step_size'?"),
        ("step_size", "--search takes NAME=LOW:HIGH"),
        ("step_size=0.1", "--search takes NAME=LOW:HIGH"),
        ("step_size=0.1:1:cube", "--search takes NAME=LOW:HIGH"),
        ("step_size=1:0.1", "the low bound of 'step_size' in --search must be below the high one, got 1:0.1"),
        ("step_size=1:1", "must be below"),
        ("lasso=0:1:log", "a logarithmic range lies above 0: 'lasso' in --search got 0:1:log"),
        ("step_size=a:1", "'step_size' in --search must be a finite number, got 'a'"),
        ("step_size=0.1:inf", "must be a finite number, got 'inf'"),
        ("meta_batch_size=2:4.5", "must be a whole number, got '4.5'"),
        ("gate=0:1", "'gate' is no number: --search takes its values, as in gate=none/return"),
        ("gate=none/some", "'gate' in --search may be none, return, got 'some'"),
        ("first_order=true/maybe", "'first_order' in --search may be true, false, got 'maybe'"),
        ("max_kl=0.1/0.1", "name a value twice"),
        ("seed=0:9", "'seed' is not searched: all trials share method, iterations, seed"),
        ("hidden_sizes=8/16", "'hidden_sizes' is not searched"),
    ],
)
def test_words_that_are_refused(word: str, says: str) -> None:
    with pytest.raises(Refusal) as caught:
        parse_space([word])
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_a_setting_is_searched_once_and_within_its_limits() -> None:
    with pytest.raises(Refusal, match="names 'max_kl' twice"):
        parse_space(["max_kl=0.1:1", "max_kl=0.2:1"])
    with pytest.raises(Refusal, match="'discount' must be at most 1, got 1.5"):
        check_space(parse_space(["discount=0.9:1.5"]), TrainSettings())
