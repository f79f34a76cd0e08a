"""Settings: what comes in is brought to plain Python types, or refused in one sentence."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from metarl.core.errors import Refusal
from metarl.core.settings import AtLeastOne, NotNegative, Positive, Share, check_settings, read_settings


@dataclass(frozen=True)
class Settings:
    data: Path
    count: AtLeastOne = 3
    horizon: AtLeastOne | None = None
    rate: Positive = 0.1
    damping: NotNegative = 0.0
    share: Share = 1.0
    sizes: tuple[AtLeastOne, ...] = (4,)
    kind: Literal["none", "return"] = "none"
    quick: bool = False

    def __post_init__(self) -> None:
        check_settings(self)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"count": np.int64(7)}, 7),
        ({"horizon": np.uint8(7)}, 7),
        ({"rate": np.float32(0.5)}, 0.5),
        ({"rate": np.array(0.5)}, 0.5),
        ({"rate": torch.tensor(0.5)}, 0.5),
        ({"rate": 2}, 2.0),
        ({"sizes": [4, 5]}, (4, 5)),
        ({"sizes": np.array([4, 5])}, (4, 5)),
        ({"sizes": (np.int32(4), 5)}, (4, 5)),
        ({"sizes": ()}, ()),
        ({"kind": np.str_("return")}, "return"),
        ({"quick": np.bool_(True)}, True),
        ({"data": "elsewhere"}, Path("elsewhere")),
    ],
)
def test_values_become_plain(change: dict[str, Any], expected: object) -> None:
    (name,) = change
    value = getattr(Settings(**{"data": Path("somewhere")} | change), name)
    assert (value == expected and type(value) is type(expected)) or isinstance(expected, Path)
    assert not isinstance(value, tuple) or all(type(each) is int for each in value)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"count": 0}, "setting 'count' must be at least 1, got 0"),
        ({"count": 1.5}, "setting 'count' must be a whole number, got 1.5"),
        ({"count": True}, "setting 'count' must be a whole number, got True"),
        ({"count": np.float64(3.0)}, "setting 'count' must be a whole number, got 3.0"),
        ({"count": "3"}, "setting 'count' must be a whole number, got '3'"),
        ({"count": 10**30}, "setting 'count' must be below 2147483648, got 1000"),
        ({"horizon": 0}, "setting 'horizon' must be at least 1, got 0"),
        ({"rate": 0}, "setting 'rate' must be above 0, got 0"),
        ({"rate": float("inf")}, "setting 'rate' must be a finite number, got inf"),
        ({"damping": -1.0}, "setting 'damping' must be at least 0, got -1.0"),
        ({"damping": float("nan")}, "setting 'damping' must be a finite number, got nan"),
        ({"share": 1.5}, "setting 'share' must be at most 1, got 1.5"),
        ({"sizes": (8, 0)}, "setting 'sizes[1]' must be at least 1, got 0"),
        ({"sizes": 8}, "setting 'sizes' must be a list, got 8"),
        ({"sizes": [[8]]}, "setting 'sizes[0]' must be a whole number, got (8,)"),
        ({"kind": "all"}, "setting 'kind' must be 'none' or 'return', got 'all'"),
        ({"quick": "no"}, "setting 'quick' must be true or false, got 'no'"),
        ({"quick": 1}, "setting 'quick' must be true or false, got 1"),
        ({"data": 3}, "setting 'data' must be a path, got 3"),
        ({"data": None}, "setting 'data' must be a path, got None"),
    ],
)
def test_values_that_are_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Refusal) as refused:
        Settings(**{"data": Path("somewhere")} | change)
    assert str(refused.value).startswith(sentence) and len(str(refused.value)) < 120


def test_what_json_holds_is_read_back() -> None:
    settings = Settings(Path("here"), sizes=(8, 9), horizon=np.int64(5), rate=np.float32(0.5))
    assert read_settings(Settings, json.loads(json.dumps(asdict(settings), default=str))) == settings


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"quick": "no"}, "setting 'quick' must be true or false, got 'no'"),
        ({"count": 1.5}, "setting 'count' must be a whole number, got 1.5"),
        ({"counts": 3}, "unknown setting 'counts'"),
    ],
)
def test_json_that_was_altered(change: dict[str, Any], sentence: str) -> None:
    content = json.loads(json.dumps(asdict(Settings(Path("here"))), default=str))
    with pytest.raises(Refusal, match=sentence):
        read_settings(Settings, content | change)


def test_a_missing_name_takes_its_default_if_there_is_one() -> None:
    assert read_settings(Settings, {"data": "here", "count": 4}) == Settings(Path("here"), count=4)
    with pytest.raises(Refusal, match="setting 'data' is missing"):
        read_settings(Settings, {"count": 4})
