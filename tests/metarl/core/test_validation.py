"""Dataclasses that state what they allow once, for Python and for JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from pydantic import Field, with_config

from metarl.core.errors import Refusal
from metarl.core.validation import STRICT, Finite, Name, Number, plain_json, read_record, validate_fields


@with_config(STRICT)
@dataclass(frozen=True)
class Wheel:
    name: Name
    radius: Annotated[Finite, Field(gt=0)] = 1.0

    def __post_init__(self) -> None:
        validate_fields(self)
        if self.name == "square":
            raise Refusal("a wheel must be round")


@with_config(STRICT)
@dataclass(frozen=True)
class Robot:
    wheels: Annotated[tuple[Wheel, ...], Field(min_length=1, max_length=2)]
    legs: Annotated[int, Field(ge=0, le=8, multiple_of=2)] = 0
    drive: Literal["front", "rear"] = "front"
    limits: dict[str, Number] | None = None
    size: tuple[int, int] = (1, 1)
    record: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        validate_fields(self)


WHEEL = {"name": "left", "radius": 2}


def test_json_becomes_the_dataclass():
    content = {"wheels": [WHEEL], "limits": {"speed": "inf", "slope": -1}, "size": [2, 3], "record": {"a": [None]}}
    robot = read_record(Robot, content, "the robot")
    assert robot == Robot((Wheel("left", 2.0),), 0, "front", {"speed": math.inf, "slope": -1.0}, (2, 3), {"a": [None]})
    assert read_record(Robot, plain_json({"wheels": [WHEEL], "limits": {"speed": math.nan}}), "").limits is not None


def test_numbers_of_numpy_and_lists_are_converted():
    robot = Robot([Wheel("left", np.float32(0.5))], np.int64(4), limits={"speed": np.float64(3)})
    assert robot == Robot((Wheel("left", 0.5),), 4, limits={"speed": 3.0})
    assert type(robot.legs) is int and type(robot.wheels[0].radius) is float


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([], "the robot must be an object, got []"),
        ({}, "the robot lacks 'wheels'"),
        ({"wheels": [WHEEL], "color": "red"}, "the robot has the unknown field 'color'"),
        ({"wheels": [{**WHEEL, "color": "red"}]}, "wheels[0] has the unknown field 'color'"),
        ({"wheels": [WHEEL, {"radius": 2}]}, "wheels[1] lacks 'name'"),
        ({"wheels": [WHEEL, {"name": 1}]}, "wheels[1].name must be a string, got 1"),
        ({"wheels": [WHEEL, {"name": "square"}]}, "wheels[1]: a wheel must be round"),
        ({"wheels": [{"name": "left", "radius": 0}]}, "wheels[0].radius must be above 0"),
        ({"wheels": [{"name": "left", "radius": "inf"}]}, "wheels[0].radius must be a finite number, got "),
        ({"wheels": [{"name": "left", "radius": "2"}]}, "wheels[0].radius must be a number, got '2'"),
        ({"wheels": [{"name": "x" * 201}]}, "wheels[0].name must be at most 200 characters long, got 'xxxx"),
        ({"wheels": {}}, "wheels must be a list, got {}"),
        ({"wheels": []}, "wheels must be at least 1 entry long, got []"),
        ({"wheels": [WHEEL] * 3}, "wheels must be at most 2 entries long, got [{"),
        ({"wheels": [WHEEL], "legs": 2.0}, "legs must be a whole number, got 2.0"),
        ({"wheels": [WHEEL], "legs": True}, "legs must be a whole number, got True"),
        ({"wheels": [WHEEL], "legs": -2}, "legs must be at least 0, got -2"),
        ({"wheels": [WHEEL], "legs": 10}, "legs must be at most 8, got 10"),
        ({"wheels": [WHEEL], "legs": 3}, "legs must be a multiple of 2, got 3"),
        ({"wheels": [WHEEL], "drive": "side"}, "drive must be 'front' or 'rear', got 'side'"),
        ({"wheels": [WHEEL], "limits": {"speed": None}}, "limits.speed must be a number, got None"),
        ({"wheels": [WHEEL], "limits": 1}, "limits must be an object, got 1"),
        ({"wheels": [WHEEL], "size": [1]}, "size has 1 entry, too few"),
    ],
)
def test_each_fault_has_one_sentence(content, sentence):
    with pytest.raises(Refusal) as caught:
        read_record(Robot, content, "the robot")
    assert str(caught.value).startswith(sentence) and len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"wheels": 1}, "wheels must be a list, got 1"),
        ({"wheels": (WHEEL,)}, "wheels[0] must be a Wheel, got {'name': 'left', 'radius': 2}"),
        ({"wheels": (), "legs": 0}, "wheels must be at least 1 entry long, got ()"),
        ({"wheels": (Wheel("left"),), "legs": 1.5}, "legs must be a whole number, got 1.5"),
        ({"wheels": (Wheel("left"),), "limits": {1: 2.0}}, "every key of limits must be a string, got 1"),
        ({"wheels": (Wheel("left"),), "limits": {"speed": np.zeros(2)}}, "limits.speed must be a number, got "),
    ],
)
def test_objects_made_in_python_are_checked_too(arguments, sentence):
    with pytest.raises(Refusal) as caught:
        Robot(**arguments)
    assert str(caught.value).startswith(sentence)


def test_plain_json():
    content = {"a": (1, np.float32(0.5)), "b": [math.inf, -math.inf, math.nan], "\udcff": "x\udcff", "c": None}
    assert plain_json(content) == {"a": [1, 0.5], "b": ["inf", "-inf", "nan"], "\\udcff": "x\\udcff", "c": None}
