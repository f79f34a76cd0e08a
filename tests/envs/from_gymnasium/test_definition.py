"""What is refused, and what is warned of, when a family is made of an environment and first used."""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import TimeLimit
from own_environments import GOAL, Point, point_with, set_goal

from metarl.core.errors import NumericalFault
from metarl.core.user_code import UserCodeError
from metarl.envs.family import TaskField
from metarl.envs.from_gymnasium import task_family


class Switches(Point):
    """Takes several choices at once."""

    action_space = gymnasium.spaces.MultiDiscrete([2, 3])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"fields": ()}, "the task family point has no task fields"),
        ({"horizon": 0}, "the horizon of the task family point must be a whole number of at least 1, got 0"),
        ({"make_env": lambda: Point()}, r"make_env of point must take the keyword render_mode, as in .*: got an unexp"),
        ({"make_env": 3}, "make_env, set_task, sample_tasks and valid of point must be functions, got 3"),
        ({"set_task": {"goal": 1}}, "must be functions, got {'goal': 1}"),
        ({"make_env": lambda **kwargs: None}, "make_env of point must return a gymnasium.Env, got NoneType None"),
        ({"reset_seconds": 0}, "reset_seconds of point must be above 0 and needs worker processes, got 0"),
        ({"reset_seconds": 1, "processes": False}, "needs worker processes"),
        ({"observe": ("position",)}, "point has no keys to observe: its observation space is Box"),
        (
            {"make_env": lambda **kwargs: Switches(**kwargs)},
            r"the action space of point must be a Box or Discrete, got MultiDiscrete\(\[2 3\]\): number its combina",
        ),
    ],
)
def test_arguments_that_are_refused(changes: dict, sentence: str) -> None:
    right = {"make_env": lambda **kwargs: Point(**kwargs), "fields": GOAL, "horizon": 10, "set_task": set_goal}
    with pytest.raises(ValueError, match=sentence):
        task_family("point", **right | changes)


def test_one_environment_for_all_is_refused() -> None:
    one = Point()
    for shared in (lambda **kwargs: one, lambda **kwargs: TimeLimit(one, 5)):
        with pytest.raises(ValueError, match="make_env of point returned the same environment twice: it must make a n"):
            task_family("point", shared, GOAL, 10, set_goal)


ZEROS = np.zeros(2, np.float32)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (
            lambda step: step[:4],
            "step of point must return five values, got a tuple of 4; step returns four values, as",
        ),
        (lambda step: None, "step of point must return five values, got NoneType None"),
        (lambda step: (np.zeros(3), *step[1:]), "point: an observation has 3 numbers, the observation space Box.* 2$"),
        (lambda step: ("left", *step[1:]), "reading an observation of point failed.*ValueError: could not convert"),
        (lambda step: (ZEROS, None, *step[2:]), "the reward that step of point returns must be a number, got NoneType"),
        (lambda step: (ZEROS, np.ones(2), *step[2:]), r"must be a number, got an array of the shape \(2,\)"),
        (lambda step: (ZEROS, 1j, *step[2:]), "must be a number, got complex"),
        (
            lambda step: (*step[:4], {"success": [1, 0]}),
            "success in the info of point must be true or false, got a list",
        ),
        (lambda step: (*step[:4], None), "the info that step of point returns must be a dict, got NoneType None"),
    ],
)
def test_answers_of_step_that_cannot_be_used(answer, sentence: str) -> None:
    family = point_with(lambda env, step: answer(step))
    with pytest.raises(UserCodeError, match=sentence):
        family.make_simulator(1)


def test_errors_are_told_with_file_and_line() -> None:
    def fail(env, step):
        raise ArithmeticError("gears are stuck")

    family = point_with(fail)
    line = fail.__code__.co_firstlineno + 1
    with pytest.raises(UserCodeError, match=rf"step of point failed in .*test_definition.py, line {line}: Arithmetic"):
        family.make_simulator(1)


class NoOptions(Point):
    def reset(self, seed=None):
        return super().reset(seed=seed)


class OldReset(Point):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)[0]


class OldStep(Point):
    def step(self, action):
        return super().step(action)[:4]


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (NoOptions, "reset of point for the task goal=-1 failed.*: reset must take seed and options, as in Gymnasium"),
        (OldReset, r"reset of point must return an observation and an info dict, got an array of the shape \(2,\)"),
        (lambda **kwargs: TimeLimit(OldStep(**kwargs), 9), "ValueError: not enough values.*: step returns four values"),
    ],
)
def test_environments_of_another_interface(kind, sentence: str) -> None:
    family = task_family("point", lambda **kwargs: kind(**kwargs), GOAL, 10)
    with pytest.raises(UserCodeError, match=sentence):
        family.make_simulator(1)


def test_an_environment_that_takes_no_render_mode_is_told_when_it_is_drawn() -> None:
    class Blind(Point):
        def __init__(self) -> None:
            super().__init__()

    family = task_family("point", lambda **kwargs: Blind(**kwargs), GOAL, 10, set_goal)
    with pytest.raises(UserCodeError, match="'render_mode': make_env must pass render_mode on to an environment that"):
        family.make_env(render_mode="rgb_array")


def test_a_floating_point_error_of_the_environment_is_a_fault_of_the_numbers() -> None:
    def overflow(env, step):
        raise FloatingPointError("diverged")

    with pytest.raises(NumericalFault, match="step of point failed in .*: FloatingPointError: diverged"):
        point_with(overflow).make_simulator(1)


class Redraws(Point):
    def reset(self, **kwargs):
        answer = super().reset(**kwargs)
        self.goal = self.np_random.uniform(-1, 1)
        return answer


@pytest.mark.parametrize(
    ("kind", "arguments", "question"),
    [
        (Point, {"set_task": None}, r"does reset take options\['task'\]\?"),
        (Redraws, {"set_task": set_goal}, r"does set_task have an effect\?"),
    ],
)
def test_tasks_without_effect_are_warned_of_once(kind, arguments: dict, question: str) -> None:
    family = task_family("point", lambda **kwargs: kind(**kwargs), GOAL, 10, **arguments)
    beginning = "the tasks goal=-1 and goal=1 of point, with the same seed and actions, give the same observations and "
    with pytest.warns(UserWarning, match=f"{beginning}rewards: {question}"):
        family.make_simulator(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        family.make_simulator(1)


def test_a_task_that_is_set_after_the_reset_has_an_effect() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        family = task_family("point", lambda **kwargs: Redraws(**kwargs), GOAL, 10, set_goal, after_reset=True)
        simulator = family.make_simulator(1)
    simulator.reset(np.array([[-1.0], [0.5]]), np.zeros((2, 1), np.int64))
    assert simulator.step(np.zeros((2, 1, 1))).rewards.tolist() == [[-1.0], [-0.5]]


def test_a_task_whose_effect_comes_late_is_not_warned_of() -> None:
    def late(env, step):
        return (step[0], step[1] if env.time > 8 else 0.0, *step[2:])

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        point_with(late).make_simulator(1)


def test_valid_tasks_are_drawn_given_and_tried(recwarn) -> None:
    family = point_with(valid=lambda task: task["goal"] > 0.9)
    tasks = family.sample_tasks(50, np.random.default_rng(0))
    assert tasks.shape == (50, 1) and tasks.min() > 0.9
    assert family.task_array([0.95]).tolist() == [0.95]
    with pytest.raises(ValueError, match="the function valid of point refuses the task goal=0.5"):
        family.task_array({"goal": 0.5})
    family.make_simulator(1)
    with pytest.raises(ValueError, match="the function valid of point refused 1000 tasks in a row that sample_"):
        point_with(valid=lambda task: False).sample_tasks(1, np.random.default_rng(0))
    with pytest.raises(UserCodeError, match="the function valid of point failed in .*test_definition.py.*KeyError"):
        point_with(valid=lambda task: task["mass"]).sample_tasks(1, np.random.default_rng(0))
    assert not recwarn.list


def test_a_time_limit_of_the_environments_own() -> None:
    limited = task_family("p", lambda **kwargs: TimeLimit(TimeLimit(Point(**kwargs), 7), 9), GOAL, 10, set_goal)
    assert limited.time_limit == 7
    with pytest.warns(UserWarning, match="the environment of p ends episodes after 7 steps by its own time limit, the"):
        limited.warn_of_time_limit()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        task_family("p", lambda **kwargs: TimeLimit(Point(**kwargs), 10), GOAL, 10, set_goal).warn_of_time_limit()
        point_with().warn_of_time_limit()


def test_the_memory_of_an_environment_is_measured() -> None:
    class Large(Point):
        def __init__(self, **kwargs) -> None:
            super().__init__(**kwargs)
            self.memory = np.ones(40_000_000, np.uint8)

    family = task_family("large", lambda **kwargs: Large(**kwargs), GOAL, 10, set_goal)
    assert family.episode_bytes == pytest.approx(40e6, rel=0.2)
    assert point_with().episode_bytes < 10e6


def test_fields_may_be_any_iterable() -> None:
    family = task_family("point", lambda **kwargs: Point(**kwargs), iter([TaskField("goal", -1, 1)]), 10, set_goal)
    assert family.fields == GOAL
