"""Families of vectorized environments, on Gymnasium's own vector classes and on one written for arrays."""

import numpy as np
import pytest
from gymnasium.spaces import Box, MultiBinary
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import batch_space
from own_environments import GOAL, Point, set_goal

import metarl
from metarl.core.user_code import UserCodeError
from metarl.envs.family import TaskField
from metarl.envs.from_gymnasium import task_family, vector_task_family
from metarl.experiments.analysis.family_checks import check_family

TASKS, SEEDS = np.array([[-1.0], [0.5]]), np.array([[1, 2], [3, 4]])
ACTIONS = np.random.default_rng(0).uniform(-1, 1, (4, 2, 2, 1))


class Ending(Point):
    """Ends after two steps where the goal is negative."""

    def step(self, action):
        observation, reward, *_ = super().step(action)
        done = self.goal < 0 and self.time >= 2
        return observation + np.float32(self.time), reward, done, False, {"success": self.time == 3}


class Switches(SyncVectorEnv):
    """Takes a state for each of two switches."""

    def __init__(self, count: int) -> None:
        super().__init__([Point] * count)
        self.single_action_space = MultiBinary(2)


def set_goals(env: VectorEnv, tasks: dict[str, np.ndarray]) -> None:
    for each, goal in zip(env.envs, tasks["goal"], strict=True):
        each.unwrapped.goal = float(goal)


def vector_family(mode=AutoresetMode.NEXT_STEP, kind=Ending, **more):
    make = lambda count: SyncVectorEnv([kind] * count, autoreset_mode=mode)  # noqa: E731
    return vector_task_family("points", make, GOAL, 10, set_goals, **more)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_episodes_are_those_of_single_environments(mode: AutoresetMode) -> None:
    single = task_family("points", lambda **kwargs: Ending(**kwargs), GOAL, 10, set_goal, processes=False)
    simulators = [family.make_simulator(1) for family in (single, vector_family(mode))]
    alive = np.ones((2, 2), bool)
    for _ in range(2):
        starts = [simulator.reset(TASKS, SEEDS) for simulator in simulators]
        np.testing.assert_array_equal(*starts)
        for actions in ACTIONS:
            expected, found = (simulator.step(actions) for simulator in simulators)
            alive = ~expected.terminated
            np.testing.assert_array_equal(found.terminated, expected.terminated)
            np.testing.assert_array_equal(found.rewards, expected.rewards)
            np.testing.assert_array_equal(found.observations[alive], expected.observations[alive])
        assert found.successes.tolist() == [[False, False], [True, True]]
    for simulator in simulators:
        simulator.close()
        simulator.close()


class Short(Point):
    """Ends after two steps, and refuses to be stepped until it is reset."""

    def step(self, action):
        assert self.time < 2, "stepped after its end"
        observation, reward, *_ = super().step(action)
        return observation + np.float32(self.time), reward, self.time == 2, False, {}


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_the_check_has_no_fault_with_episodes_that_all_end(mode: AutoresetMode) -> None:
    wrong = [finding.sentence for finding in check_family(vector_family(mode, Short)) if finding.verdict == "wrong"]
    assert wrong == []


class ArrayPoints(VectorEnv):
    """All episodes in one array, without environments of their own; takes its tasks as reset options."""

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(self, count: int) -> None:
        self.num_envs = count
        self.single_observation_space, self.single_action_space = Box(-99, 99, (1,)), Box(-1, 1, (1,))
        self.observation_space, self.action_space = (
            batch_space(space, count) for space in (self.single_observation_space, self.single_action_space)
        )

    def reset(self, *, seed=None, options=None):
        self.goals = options["task"]["goal"]
        self.places = np.array([[np.random.default_rng(each).uniform(-1, 1)] for each in seed])
        return self.places.astype(np.float32), {}

    def step(self, actions):
        self.places = np.clip(self.places + actions, -99, 99)
        none = np.zeros(self.num_envs, bool)
        return self.places.astype(np.float32), -np.abs(self.places[:, 0] - self.goals), none, none, {}

    def close(self, **kwargs) -> None:
        pass


def test_a_family_of_arrays_is_right_and_is_trained_on() -> None:
    family = vector_task_family("points", ArrayPoints, GOAL, 8)
    found = {finding.check: finding.sentence for finding in check_family(family) if finding.verdict != "fine"}
    assert found == {}
    controller = metarl.train(
        family, iterations=1, meta_batch_size=2, episodes_per_task=2, hidden_sizes=(4,), threads=2
    )
    assert np.isfinite(
        [interval.mean for interval in metarl.evaluate(controller, tasks=2, family=family).intervals()]
    ).all()
    with pytest.raises(ValueError, match="points cannot be drawn: its environments are vectorized"):
        family.make_env(render_mode="rgb_array")


class OneReward(ArrayPoints):
    def step(self, actions):
        observations, rewards, *rest = super().step(actions)
        return observations, rewards.mean(), *rest


class Wide(ArrayPoints):
    def step(self, actions):
        observations, *rest = super().step(actions)
        return np.concatenate([observations] * 2, axis=1), *rest


class Failing(ArrayPoints):
    def step(self, actions):
        return 1 / 0


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (OneReward, "the rewards of points must be a number for each of 4 episodes, got float64"),
        (Wide, "an observation of points has 2 numbers, the observation space Box.* 1$"),
        (Failing, "step of points failed in .*test_vector.py, line .*ZeroDivisionError"),
        (
            lambda count: ArrayPoints(1),
            r"make_vector_env\(4\) of points must return a VectorEnv of 4 .*, got one of 1",
        ),
    ],
)
def test_answers_that_cannot_be_used(make, sentence: str) -> None:
    simulator = vector_task_family("points", make, GOAL, 8).make_simulator(1)
    with pytest.raises(UserCodeError, match=sentence):  # noqa: PT012
        simulator.reset(TASKS, SEEDS)
        simulator.step(ACTIONS[0])


@pytest.mark.parametrize(
    ("make", "fields", "sentence"),
    [
        (
            lambda count: Point(),
            GOAL,
            r"make_vector_env\(1\) of points must return a VectorEnv .*, got Point",
        ),
        (lambda count: 1 / 0, GOAL, "make_vector_env of points failed in .*test_vector.py"),
        (ArrayPoints, (TaskField("goal", -1, 1), TaskField("goal", 0, 1)), "two task fields named 'goal'"),
        (
            Switches,
            GOAL,
            r"the action space of points must be a Box or Discrete, got MultiBinary\(2\): number its combinations in",
        ),
    ],
)
def test_families_that_are_refused(make, fields, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        vector_task_family("points", make, fields, 8)
