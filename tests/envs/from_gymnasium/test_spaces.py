"""Observations and actions of any shape become flat vectors, and actions the environment's own again."""

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Graph, MultiBinary, Sequence, Tuple
from own_environments import GOAL, set_goal

import metarl
from metarl.envs.from_gymnasium import task_family
from metarl.envs.from_gymnasium.spaces import actions, observations

REACH = Dict({"observation": Box(-1, 1, (2, 2)), "achieved_goal": Box(-2, 2, (2,)), "desired_goal": Box(-2, 2, (2,))})
SEEN = {"observation": np.array([[1, 2], [3, 4]]), "achieved_goal": [5, 6], "desired_goal": [7, 8]}


def test_a_dict_is_observed_key_by_key_without_the_goal() -> None:
    layout = observations("reach", REACH, None)
    assert layout.keys == ("observation", "achieved_goal") or layout.keys == ("achieved_goal", "observation")
    values = {"observation": [1, 2, 3, 4], "achieved_goal": [5, 6]}
    assert layout.flatten(SEEN).tolist() == [value for key in layout.keys for value in values[key]]
    assert layout.parts() == {key: len(values[key]) for key in layout.keys}


def test_the_keys_and_their_order_may_be_chosen() -> None:
    layout = observations("reach", REACH, ("desired_goal", "observation"))
    assert layout.flatten(SEEN).tolist() == [7, 8, 1, 2, 3, 4]
    assert layout.flat == Box(np.array([-2, -2, -1, -1, -1, -1]), np.array([2, 2, 1, 1, 1, 1]), dtype=np.float32)


@pytest.mark.parametrize(
    ("space", "observation", "flat"),
    [
        (Box(0, 255, (2, 1, 2), np.uint8), [[[1, 2]], [[3, 4]]], [1, 2, 3, 4]),
        (Box(0, 1, ()), 0.5, [0.5]),
        (Discrete(3, start=5), 6, [0, 1, 0]),
        (MultiBinary(2), [1, 0], [1, 0]),
        (Tuple((Discrete(2), Box(0, 9, (1,)))), (1, np.array([4.0])), [0, 1, 4]),
    ],
)
def test_other_spaces_are_flattened(space, observation, flat) -> None:
    layout = observations("p", space, None)
    assert layout.flatten(observation).tolist() == flat
    assert layout.flat.shape == (len(flat),) and layout.parts() == {"observation": len(flat)}


@pytest.mark.parametrize(
    ("space", "keys", "sentence"),
    [
        (Dict(words=Sequence(Box(0, 1, (1,)))), None, "the observation space of p must have a fixed number of numbers"),
        (Graph(Box(0, 1, (1,)), None), None, "must have a fixed number of numbers"),
        (REACH, ("speed",), "p does not observe 'speed': choose from achieved_goal, desired_goal, observation"),
        (REACH, (), "p observes nothing: choose from"),
        (Dict(desired_goal=Box(0, 1, (1,))), None, "p observes nothing: choose from desired_goal"),
    ],
)
def test_spaces_that_are_refused(space, keys, sentence) -> None:
    with pytest.raises(ValueError, match=sentence):
        observations("p", space, keys)


def test_actions_are_clipped_and_get_their_shape_and_type_back() -> None:
    space = Box(np.array([[-1, 0], [0, 0]]), np.array([[1, 2], [3, 4]]), dtype=np.float32)
    layout = actions("p", space)
    restored = layout.restore(np.array([-9.0, 1.5, 2.0, 9.0]))
    assert restored.tolist() == [[-1, 1.5], [2, 4]] and restored.dtype == np.float32
    assert layout.flat.low.tolist() == [-1, 0, 0, 0]


class Reach(gymnasium.Env):
    """Draws a goal in reset, as goal-conditioned environments do, and tells of success."""

    observation_space, action_space = REACH, Box(-1, 1, (2, 1))

    def __init__(self, render_mode=None) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.goal, self.place = self.np_random.uniform(-1, 1), 0.0
        return self.observe(), {}

    def step(self, action):
        assert action.shape == (2, 1)
        self.place += float(action.sum())
        distance = abs(self.place - self.goal)
        return self.observe(), -distance, False, False, {"is_success": distance < 0.1}

    def observe(self):
        both = np.full(2, self.place, np.float32)
        return {"observation": np.ones((2, 2), np.float32), "achieved_goal": both, "desired_goal": both * 0 + self.goal}


def test_a_goal_conditioned_environment_is_trained_on_and_tells_of_success() -> None:
    family = task_family("reach", lambda **kwargs: Reach(**kwargs), GOAL, 6, set_goal, after_reset=True)
    assert family.observation_space.shape == (6,) and family.action_space.shape == (2,)
    simulator = family.make_simulator(1)
    simulator.reset(np.array([[-1.0], [1.0]]), np.zeros((2, 1), np.int64))
    push = np.array([[[0.5, 0.5]], [[0.5, 0.5]]])
    assert simulator.step(push).successes.tolist() == [[False], [True]]
    assert simulator.step(push).successes.tolist() == [[False], [True]], "what was reached stays reached"
    simulator.close()
    controller = metarl.train(
        family, iterations=1, meta_batch_size=2, episodes_per_task=2, hidden_sizes=(4,), threads=1
    )
    env = family.make_env()
    observation, info = env.reset(seed=0, options={"task": {"goal": 0.5}})
    assert observation.shape == (6,) and env.observation_space.contains(observation) and info["task"] == {"goal": 0.5}
    action, _ = controller.predict(observation)
    observation, reward, _, _, info = env.step(action)
    assert observation.shape == (6,) and np.isfinite(reward) and "is_success" in info
