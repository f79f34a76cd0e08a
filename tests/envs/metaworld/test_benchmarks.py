"""Meta-World's families against Meta-World itself."""

import sys

import numpy as np
import pytest

from metarl.core.errors import Refusal
from metarl.envs.metaworld import benchmarks as families
from metarl.envs.registry import get_family


@pytest.fixture
def peer():
    pytest.importorskip("scipy", reason="Meta-World is not installed")
    pytest.importorskip("metaworld", reason="Meta-World is not installed")
    return families.load()


def own_episode(peer, task, actions):
    """Return observations, rewards and success of an episode that Meta-World's environment runs by itself."""
    env = peer.env_dict.ALL_V3_ENVIRONMENTS[task.env_name]()
    env.set_task(task)
    first, _ = env.reset()
    steps = [env.step(action) for action in actions]
    return [first, *(step[0] for step in steps)], [step[1] for step in steps], [step[4]["success"] for step in steps]


@pytest.mark.parametrize(("name", "split"), [("reach-v3", "train"), ("reach-v3-test", "test")])
def test_an_episode_is_meta_worlds_own(peer, name, split):
    family = get_family(f"metaworld:{name}")
    assert family.horizon == 500 and [field.name for field in family.fields] == ["goal"]
    tasks = getattr(peer.ML1("reach-v3", seed=families.SEED), f"{split}_tasks")
    assert len(tasks) == len(family.fields[0].choices)
    actions = np.random.default_rng(0).uniform(-1, 1, (20, 4)).astype(np.float32)
    simulator = family.make_simulator(1)
    starts = simulator.reset(np.array([[3.0], [41.0]]), np.zeros((2, 1), np.int64))
    steps = [simulator.step(np.tile(action, (2, 1, 1))) for action in actions]
    simulator.close()
    for index, goal in enumerate((3, 41)):
        observations, rewards, successes = own_episode(peer, tasks[goal], actions)
        np.testing.assert_array_equal([starts[index, 0], *(s.observations[index, 0] for s in steps)], observations)
        np.testing.assert_array_equal([step.rewards[index, 0] for step in steps], rewards)
        reached = np.maximum.accumulate(np.array(successes, np.bool_))
        np.testing.assert_array_equal([step.successes[index, 0] for step in steps], reached)


def grasping(env, random):
    """Yield the actions of a hand that grasps the object and carries it off, now and then somewhere else."""
    for step in range(150):
        hand, place = env.data.body("hand").xpos, env.data.body("obj").xpos
        above, target = np.array([0.0, 0.0, 0.12]), env._target_pos
        aim = place + above if step < 25 else place - [0, 0, 0.02] if step < 55 else target
        towards = np.clip(10 * (aim - env.tcp_center if step >= 25 else aim - hand), -1, 1)
        effort = -1.0 if step < 50 else random.choice([0.3, 0.9, 1.0])
        yield np.array([*(np.clip(towards + random.uniform(-0.1, 0.1, 3), -1, 1)), effort], np.float32)


@pytest.mark.parametrize("name", ["reach-v3", "push-v3", "pick-place-v3"])
def test_the_batch_equals_meta_worlds_environment_step_by_step(peer, name):
    tasks = peer.ML1(name, seed=families.SEED).train_tasks
    simulator = get_family(f"metaworld:{name}").make_simulator(2)
    random = np.random.default_rng(2)
    best = []
    for chosen in ((7, 20), (20, 33)):  # twice, so that resets are used again
        starts = simulator.reset(np.array(chosen, float)[:, None], np.zeros((2, 2), np.int64))
        for index, episode in ((0, 0), (1, 1)):
            env = peer.env_dict.ALL_V3_ENVIRONMENTS[name]()
            env.set_task(tasks[chosen[index]])
            first, _ = env.reset()
            np.testing.assert_array_equal(starts[index, episode], first)
            own = [(action, env.step(action)) for action in grasping(env, random)]
            simulator.reset(np.array(chosen, float)[:, None], np.zeros((2, 2), np.int64))
            reached = False
            for action, (observation, reward, _, _, info) in own:
                actions = random.uniform(-1, 1, (2, 2, 4))
                actions[index, episode] = action
                step = simulator.step(actions)
                reached = reached or bool(info["success"])
                np.testing.assert_array_equal(step.observations[index, episode], observation)
                assert step.rewards[index, episode] == reward
                assert step.successes[index, episode] == reached
            best.append(max(reward for _, (_, reward, *_) in own))
    simulator.close()
    assert max(best) == 10  # the object was at its target


def taking_turns(peer, tasks, steps=6):
    """Compare episodes that take turns in one environment with Meta-World's own."""
    env = families.Goals(tasks)
    chosen = [(environment, goal) for environment in range(len(tasks)) for goal in (0, 1)] * 2
    random = np.random.default_rng(0)
    actions = random.uniform(-1, 1, (steps, len(chosen), 4)).astype(np.float32)
    states, found = [], []
    for environment, goal in chosen:
        observation, _ = env.reset(options={"task": {"environment": environment, "goal": goal}})
        states.append(env.suspend())
        found.append([[observation], [], []])
    for step in actions:
        for index in random.permutation(len(chosen)):
            env.resume(states[index])
            observation, reward, _, _, info = env.step(step[index])
            states[index] = env.suspend()
            for values, value in zip(found[index], (observation, reward, info["success"]), strict=True):
                values.append(value)
    env.close()
    for index, (environment, goal) in enumerate(chosen):
        expected = own_episode(peer, tasks[environment][goal], actions[:, index])
        for values, others in zip(found[index], expected, strict=True):
            np.testing.assert_array_equal(values, others, tasks[environment][goal].env_name)


def test_episodes_of_several_environments_take_turns(peer):
    names = ("push-v3", "drawer-open-v3", "lever-pull-v3")  # the last two move bodies of the model
    taking_turns(peer, tuple(tuple(peer.ML1(name, seed=1).train_tasks[:2]) for name in names))


def test_a_block_of_episodes_has_one_environment(peer):
    family = get_family("metaworld:door-open-v3")
    assert family.episode_bytes == 0
    simulator = family.make_simulator(1)
    simulator.reset(np.array([[4.0], [5.0]]), np.zeros((2, 2), np.int64))
    actions = np.random.default_rng(0).uniform(-1, 1, (5, 2, 2, 4)).astype(np.float32)
    steps = [simulator.step(action) for action in actions]
    if simulator.workers is None:
        assert len(simulator.block.environments) == 1
    simulator.close()
    tasks = peer.ML1("door-open-v3", seed=families.SEED).train_tasks
    for index, episode in ((0, 0), (1, 1)):
        observations, rewards, _ = own_episode(peer, tasks[4 + index], actions[:, index, episode])
        np.testing.assert_array_equal([step.observations[index, episode] for step in steps], observations[1:])
        np.testing.assert_array_equal([step.rewards[index, episode] for step in steps], rewards)


def test_the_goal_is_hidden(peer):
    starts = get_family("metaworld:reach-v3").make_simulator(1).reset(np.array([[0.0]]), np.zeros((1, 1), np.int64))
    np.testing.assert_array_equal(starts[0, 0, -3:], 0)


@pytest.mark.slow
def test_episodes_of_ml10_take_turns(peer):
    for test in (False, True):
        taking_turns(peer, tuple(goals[:2] for goals in families.tasks_of("ml10", test)), steps=3)


@pytest.mark.slow
def test_ml10_has_ten_environments_to_train_on_and_five_others_to_test_on(peer):
    train, test = (families.tasks_of("ml10", test) for test in (False, True))
    assert [len(goals) for goals in train] == [50] * 10
    assert [len(goals) for goals in test] == [50] * 5
    assert not {goals[0].env_name for goals in train} & {goals[0].env_name for goals in test}
    family, other = get_family("metaworld:ml10"), get_family("metaworld:ml10-test")
    assert [field.name for field in family.fields] == ["environment", "goal"]
    assert [len(field.choices) for field in other.fields] == [5, 50]
    assert family.observation_space.shape == other.observation_space.shape


def test_an_unknown_name_is_refused(peer):
    with pytest.raises(Refusal, match="unknown task family 'metaworld:fly-v3': after metaworld: comes ml10 or one of"):
        get_family("metaworld:fly-v3")


def test_without_the_package_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "metaworld", None)
    families.load.cache_clear()
    with pytest.raises(Refusal, match=r"pip install 'metarl-adapt\[metaworld\]'"):
        get_family("metaworld:reach-v3")
