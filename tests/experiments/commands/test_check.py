"""What ``metarl check`` finds wrong with a family, and that it finds nothing in right ones."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from command_line import metarl, succeeds
from gymnasium.spaces import Box
from own_environments import GOAL, Point, point_with, set_goal

from metarl.core.user_code import UserCodeError
from metarl.envs.family import TaskField
from metarl.envs.from_gymnasium import task_family
from metarl.experiments.analysis.family_checks import check_family

WIND = TaskField("wind", -1, 1)


def findings(family) -> dict[str, tuple[str, str]]:
    """Return verdict and sentence of each check."""
    return {finding.check: (finding.verdict, finding.sentence) for finding in check_family(family)}


class Moving(Point):
    """A point that moves, so that its observations tell something."""

    observation_space = Box(-20, 20, (2,))

    def reset(self, **kwargs):
        self.place, info = super().reset(**kwargs)
        return self.place.copy(), info

    def step(self, action):
        _, _, *rest = super().step(action)
        self.place = (self.place + action).astype(np.float32)
        return self.place.copy(), -abs(float(self.place[0]) - self.goal), *rest


def family_of(kind, fields=GOAL, set_task=set_goal, **more):
    return task_family("point", lambda **kwargs: kind(**kwargs), fields, 12, set_task, processes=False, **more)


def test_a_right_family() -> None:
    found = findings(family_of(Moving))
    assert {verdict for verdict, _ in found.values()} == {"fine"}, found
    assert found["goal"][1] == "the field goal changes the reward after 0 steps, by 2"
    assert "steps/s with one thread" in found["speed"][1]


def changed(name: str, **methods):
    return type(name, (Moving,), methods)


def noisy_step(self, action):
    observation, *rest = Moving.step(self, action)
    return (observation + np.float32(np.random.default_rng().uniform(0, 1)), *rest)


def kept_reset(self, **kwargs):
    """Reset all but the place."""
    place = getattr(self, "place", None)
    observation, info = Moving.reset(self, **kwargs)
    self.place = observation.copy() if place is None else place
    return self.place.copy(), info


SHARED = {"steps": 0}


def shared_step(self, action):
    SHARED["steps"] += 1
    observation, *rest = Moving.step(self, action)
    return (observation + np.float32(SHARED["steps"] % 7), *rest)


def deaf_step(self, action):
    return Moving.step(self, np.zeros(1, np.float32))


def constant_step(self, action):
    observation, _, *rest = Moving.step(self, action)
    return observation, 1.0 + 0.0 * self.goal, *rest


def ending_step(self, action):
    observation, reward, *_ = Moving.step(self, action)
    return observation, reward, self.time >= 5, False, {}


def large_step(self, action):
    observation, *rest = Moving.step(self, action)
    return observation * np.float32(1000), *rest


def telling_reset(self, **kwargs):
    observation, info = Moving.reset(self, **kwargs)
    return observation + np.float32(self.goal), info


def nan_step(self, action):
    observation, *rest = Moving.step(self, action)
    return observation * np.float32(np.nan if self.time == 7 else 1), *rest


@pytest.mark.filterwarnings("ignore:the tasks goal=-1 and goal=1 of point, with the same seed")
@pytest.mark.parametrize(
    ("methods", "check", "verdict", "sentence"),
    [
        (
            {"step": noisy_step},
            "seeds",
            "wrong",
            "not so: the same task, seed and actions give the same episode: the ob",
        ),
        (
            {"reset": kept_reset},
            "seeds",
            "wrong",
            "draw random numbers from self.np_random and set every variable anew",
        ),
        ({"step": shared_step}, "neighbors", "wrong", "not so: an episode does not depend on those beside it"),
        ({"step": deaf_step}, "actions", "wrong", "other actions give the same observations and rewards"),
        ({"step": constant_step}, "rewards", "wrong", "every reward of 144 random steps is 1: nothing to learn"),
        ({"step": constant_step}, "goal", "wrong", "the field goal changes nothing: does set_task have an effect?"),
        ({"step": ending_step}, "ends", "hint", "every episode ends after 5 steps: has the environment a time limit"),
        ({"step": large_step}, "observations", "hint", "observations exceed 100 at indices 0, 1: scale them"),
        ({"reset": telling_reset}, "goal", "hint", "the first observation tells goal: there is nothing to adapt to"),
        ({"step": nan_step}, "numbers", "wrong", "observations are not finite after 7 steps"),
    ],
)
def test_what_is_wrong(methods: dict, check: str, verdict: str, sentence: str) -> None:
    found = findings(family_of(changed("Changed", **methods)))
    assert found[check][0] == verdict and sentence in found[check][1], found[check]


def test_rewards_that_are_equal_in_episodes_of_other_lengths_are_fine() -> None:
    def step(self, action):
        observation, *_ = Moving.step(self, action)
        return observation, 1.0, abs(self.place[0] - self.goal) > 1.5, False, {}

    found = findings(family_of(changed("Balancing", step=step)))
    assert found["rewards"] == ("fine", "rewards of random actions lie in [1, 1]")


def test_a_field_of_two_that_changes_nothing() -> None:
    found = findings(family_of(Moving, (*GOAL, WIND)))
    assert found["goal"][0] == "fine"
    assert found["wind"] == ("wrong", "the field wind changes nothing: does set_task have an effect?")


def test_the_checkers_are_heard() -> None:
    found = findings(family_of(changed("Outside", observation_space=Box(-0.5, 0.5, (2,)))))
    assert found["Gymnasium"][0] == "wrong" and "Gymnasium's checker refuses the environment: " in found["Gymnasium"][1]


def test_an_environment_that_fails_is_told() -> None:
    with pytest.raises(UserCodeError, match="step of point failed in .*test_check.py"):
        findings(point_with(lambda env, step: 1 / 0))


@pytest.mark.filterwarnings("ignore:the tasks goal=-1 and goal=1 of point, with the same seed")
def test_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = family_of(changed("Changed", step=constant_step))
    monkeypatch.setitem(sys.modules, "mine", SimpleNamespace(right=family_of(Moving), wrong=wrong))
    out = succeeds("check", "mine:right", "--steps", 5)
    assert out.splitlines()[-1] == "mine:right can be trained on." and "fine  actions make a difference" in out
    outcome = metarl("check", "mine:wrong")
    assert outcome.code == 2
    assert outcome.err == "metarl: mine:wrong: 2 of 14 checks found something wrong\n"
    assert "wrong every reward of 144 random steps is 1: nothing to learn\n" in outcome.out
    assert "at least 1" in metarl("check", "mine:right", "--steps", 0).err


@pytest.mark.parametrize("name", ["navigation-2d", "half-cheetah-velocity", "hopper-dynamics"])
def test_families_of_metarl_are_right(name: str) -> None:
    assert f"{name} can be trained on" in succeeds("check", name, "--steps", 20)
