"""The controller as Meta-World's agent: its protocol by hand, and Meta-World's own evaluation where it is installed."""

from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
import torch
from own_environments import point_with

import metarl
from metarl.core.errors import Refusal
from metarl.envs.metaworld.benchmarks import load
from metarl.policies.recorder import Recorder
from metarl.rl.metaworld_agent import MetaWorldAgent

TINY = {"iterations": 1, "meta_batch_size": 2, "episodes_per_task": 2, "hidden_sizes": (4,), "threads": 1}


@pytest.fixture(scope="module")
def controller():
    return metarl.train(point_with(processes=False), **TINY)


def test_each_environment_is_adapted_to_by_itself(controller) -> None:
    agent = MetaWorldAgent(controller, seed=3)
    expected = [Recorder(controller, generator) for generator in [np.random.default_rng(3)] * 2]
    random = np.random.default_rng(0)
    for time in range(6):
        observations, rewards = random.uniform(-1, 1, (2, 2)), random.uniform(-1, 0, 2)
        actions, others = agent.adapt_action(observations)
        by_hand = [recorder.act(observation) for recorder, observation in zip(expected, observations, strict=True)]
        np.testing.assert_array_equal(actions, by_hand)
        assert others == {}
        ends = np.array([time % 3 == 2, time == 5])  # two episodes in one environment, one in the other
        agent.step(SimpleNamespace(reward=rewards, terminated=np.zeros(2, bool), truncated=ends))
        for recorder, reward, end in zip(expected, rewards, ends, strict=True):
            recorder.reward(reward)
            if end:
                recorder.end_episode()
    agent.adapt()
    for found, recorder in zip(agent.adapted, expected, strict=True):
        wanted = recorder.adapt()
        assert all(torch.equal(found.parameters[name], wanted.parameters[name]) for name in wanted.parameters)
    with pytest.raises(Refusal, match="has 1 inner steps, and adaptation_steps asks for more"):
        agent.adapt_action(observations)
    agent.init()
    assert agent.adapted == [] and agent.adapt_action(observations)[0].shape == (2, 1)


@pytest.mark.slow
def test_meta_worlds_own_evaluation_runs_on_a_controller() -> None:
    pytest.importorskip("scipy", reason="Meta-World is not installed")
    pytest.importorskip("metaworld", reason="Meta-World is not installed")
    load()
    from metaworld.evaluation import metalearning_evaluation

    controller = metarl.train("metaworld:reach-v3", horizon=5, **TINY)
    envs = gymnasium.make_vec(
        "Meta-World/ML1-test", env_name="reach-v3", seed=1, meta_batch_size=2, max_episode_steps=6
    )
    agent = MetaWorldAgent(controller, deterministic=True)
    protocol = {"num_evals": 1, "adaptation_episodes": 2, "evaluation_episodes": 1}
    rate, mean_return, rates = metalearning_evaluation(agent, envs, **protocol)
    envs.close()
    assert rate in (0.0, 0.5, 1.0) and list(rates) == ["reach-v3"] and 0 < mean_return <= 6 * 10
    changed = [
        not torch.equal(each.parameters["layer1.weight"], controller.parameters["layer1.weight"])
        for each in agent.adapted
    ]
    assert changed == [True, True]
