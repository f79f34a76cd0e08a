"""Episodes that end before the horizon, from the simulator to the device: hoppers that fall."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from device_problems import device_controller, device_parameters

from metarl.core.clock import Clock
from metarl.core.randomness import Purpose, generator
from metarl.envs.registry import get_family
from metarl.policies.networks.mlp import GaussianMLP
from metarl.rl.adaptation import adapt_to_tasks
from metarl.rl.batch import prepare_batch
from metarl.rl.episodes import Episodes
from metarl.rl.evaluation import adapt_to_task, adaptation_settings
from metarl.rl.sampling import Sampler, for_each_task
from metarl.rl.training import with_horizon

FAMILY = with_horizon(get_family("hopper-velocity"), 40)
NETWORK = GaussianMLP(observation_size=11, hidden_sizes=(8, 8), action_size=3)
ACTION_SCALE = 0.5
SEED = 5


def sample() -> tuple[Episodes, np.ndarray, np.ndarray]:
    """Return episodes of three tasks, the tasks and the seeds that the sampler draws."""
    tasks = FAMILY.sample_tasks(3, np.random.default_rng(0))
    parameters = for_each_task(NETWORK.initial_parameters(torch.Generator().manual_seed(0)), 3)
    with Sampler(FAMILY, NETWORK, ACTION_SCALE, threads=2) as sampler:
        episodes = sampler.sample(parameters, tasks, 4, np.random.default_rng(SEED))
    return episodes, tasks, np.random.default_rng(SEED).integers(2**31, size=(3, 4))


@pytest.fixture(scope="module")
def sampled():
    return sample()


def test_episodes_are_those_of_the_single_environment(sampled) -> None:
    """Masks, rewards and returns against Gymnasium's loop with the same actions, which stops at the end."""
    episodes, tasks, seeds = sampled
    env = FAMILY.make_env()
    lengths = []
    for task, episode in np.ndindex(3, 4):
        env.reset(seed=int(seeds[task, episode]), options={"task": FAMILY.task_dict(tasks[task])})
        rewards, terminated = [], False
        while not terminated and len(rewards) < 40:
            action = episodes.actions[task, episode, len(rewards)] * ACTION_SCALE
            _, reward, terminated, _, _ = env.step(action.numpy().clip(-1, 1))
            rewards.append(reward)
        length = len(rewards)
        lengths.append(length)
        assert episodes.valid[task, episode].tolist() == [True] * length + [False] * (40 - length)
        np.testing.assert_allclose(episodes.rewards[task, episode, :length], rewards, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(episodes.returns()[task, episode], sum(rewards), rtol=1e-4)
    env.close()
    assert min(lengths) < 40
    assert len(set(lengths)) > 1


def test_what_follows_an_end_has_no_effect_on_advantages_and_loss(sampled) -> None:
    episodes, _, _ = sampled
    after = ~episodes.valid
    spoiled = replace(
        episodes,
        observations=episodes.observations.masked_fill(after.unsqueeze(-1), 7.0),
        actions=episodes.actions.masked_fill(after.unsqueeze(-1), -3.0),
        rewards=episodes.rewards.masked_fill(after, 1e3),
    )
    parameters = NETWORK.initial_parameters(torch.Generator().manual_seed(1))
    for task in range(3):
        batch, other = (prepare_batch(each, task, 0.99, 1.0) for each in (episodes, spoiled))
        assert (batch.advantages[~batch.valid] == 0).all()
        assert (batch.advantages[batch.valid] != 0).any()
        torch.testing.assert_close(batch.advantages, other.advantages, rtol=1e-4, atol=1e-5)
        losses = [each.loss(NETWORK, parameters, NETWORK(parameters, each.inputs)[0]) for each in (batch, other)]
        torch.testing.assert_close(*losses, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", ["maml", "p-meta"])
def test_the_device_adapts_to_falling_hoppers_as_the_training_does(method: str) -> None:
    task = {"target_velocity": 1.5}
    parameters = device_parameters(NETWORK, method, inner_steps=2)
    controller = device_controller(NETWORK, method, parameters, family="hopper-velocity", horizon=40)
    adapted, _ = adapt_to_task(controller, FAMILY, task, seed=3, threads=1)
    with Sampler(FAMILY, NETWORK, controller.metadata.action_scale, 1) as sampler, ThreadPoolExecutor(1) as executor:
        expected = adapt_to_tasks(
            parameters,
            FAMILY.task_array(task)[np.newaxis],
            adaptation_settings(controller),
            sampler,
            executor,
            generator(3, Purpose.ADAPTATION),
            Clock(),
        )
    assert not expected.episodes[0].valid.all()
    for name, tensor in expected.parameters[-1][0].items():
        torch.testing.assert_close(adapted.parameters[name], tensor.detach(), rtol=1e-3, atol=1e-4)
