"""Families that a name describes: a registered environment and its task fields."""

import sys
import types

import gymnasium
import pytest
from own_environments import Point

from metarl.envs.family import TaskField
from metarl.envs.from_gymnasium.registered import parse_field, with_fields
from metarl.envs.registry import get_family


def test_attributes_of_a_registered_environment_are_task_fields() -> None:
    family = get_family("gym:Pendulum-v1,g=5:15,m=1/2")
    assert family.name == "gym:Pendulum-v1,g=5:15,m=1/2" and family.horizon == 200
    assert family.fields == (TaskField("g", 5, 15), TaskField("m", 1, 2, choices=(1, 2)))
    env = family.make_env()
    env.reset(seed=0, options={"task": {"g": 7.0, "m": 2.0}})
    assert (env.unwrapped.g, env.unwrapped.m) == (7.0, 2.0)


def test_a_package_that_registers_its_environments_when_it_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "points", types.ModuleType("points"))
    gymnasium.register("points/Point-v3", entry_point=Point, max_episode_steps=30)
    family = get_family("gym:points:points/Point-v3,goal=-1:1")
    assert (family.horizon, family.time_limit) == (30, 30)
    del gymnasium.registry["points/Point-v3"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "gym:Pendulum-v1",
            "needs a task field, as in --field dt=0.025:0.075: dt, g, l, m, max_speed, max_torque, scr",
        ),
        ("gym:Pendlum-v1,g=5:15", r"Gymnasium cannot make Pendlum-v1: .* Did you mean: `Pendulum`\?"),
        ("gym:", "Gymnasium cannot make : Malformed environment ID"),
        (
            "gym:no_such_package:A-v0,g=1:2",
            "no_such_package:A-v0 cannot be imported: there is no module 'no_such_package'",
        ),
        ("gym:Pendulum-v1,gg=5:15", "Pendulum-v1 has no number 'gg': its task fields may be dt, g, l, m"),
        ("gym:Pendulum-v1,g=15:5", r"the low bound of task field 'g' must not be above the high one, got \[15, 5\]"),
        ("gym:Pendulum-v1,g=5:15,g=1:2", "has two task fields named 'g'"),
    ],
)
def test_names_that_describe_no_family(name: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        get_family(name)


@pytest.mark.parametrize("text", ["g", "g=", "g=5", "g=a:b", "g=1:2:3", "=", "g=1/", "g=1:2/3"])
def test_texts_that_are_no_field(text: str) -> None:
    with pytest.raises(ValueError, match="a task field is written NAME=LOW:HIGH or NAME=VALUE/VALUE, e.g. g=5:15, got"):
        parse_field(text)


def test_fields_are_added_to_the_name() -> None:
    assert with_fields("gym:Pendulum-v1", ["g=5:15", "m=1/2"]) == "gym:Pendulum-v1,g=5:15,m=1/2"
    assert with_fields("navigation-2d", []) == "navigation-2d"
    with pytest.raises(ValueError, match="navigation-2d has its own task fields: --field is for environments of Gymn"):
        with_fields("navigation-2d", ["g=5:15"])
