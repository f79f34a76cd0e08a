"""metarl's environments by ``gymnasium.make_vec``, against Gymnasium's own vector environment of the single ones."""

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecMonitor

from metarl.core.errors import Refusal
from metarl.envs.sb3 import sb3_vec_env
from metarl.envs.vector_env import TaskVectorEnv


def stepped(env, actions, **reset):
    observations, info = env.reset(**reset)
    yield observations.copy(), info
    for action in actions:
        observations, *rest = env.step(action)
        yield observations.copy(), *(np.copy(part) for part in rest[:3]), rest[3]
    env.close()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("Hopper-Velocity", {}),  # episodes end early, at different times
        ("HalfCheetah-Velocity", {"max_episode_steps": 7}),
        ("Navigation2D", {"task": {"goal_x": 0.1, "goal_y": 0.2}, "max_episode_steps": 4}),
        ("Hopper-Dynamics", {"observe_task": True}),
    ],
)
def test_it_equals_single_environments_step_by_step(name: str, options) -> None:
    identity = f"metarl/{name.replace('-', '')}-v0"
    same_step = {"autoreset_mode": AutoresetMode.SAME_STEP}
    single = gymnasium.make_vec(identity, 3, "sync", vector_kwargs=same_step, **options)
    batched = gymnasium.make_vec(identity, 3, **options)
    assert isinstance(batched.unwrapped, TaskVectorEnv)
    assert batched.observation_space == single.observation_space and batched.action_space == single.action_space
    random = np.random.default_rng(0)
    low, high = single.action_space.low, single.action_space.high
    actions = random.uniform(low, high, (60, *low.shape)).astype(np.float32)
    ends = 0
    for expected, found in zip(stepped(single, actions, seed=5), stepped(batched, actions, seed=5), strict=True):
        for one, other in zip(expected[:-1], found[:-1], strict=True):
            np.testing.assert_array_equal(one, other)
        np.testing.assert_equal(found[-1]["task"], expected[-1]["task"])
        assert ("final_obs" in found[-1]) == ("final_obs" in expected[-1])
        if "final_obs" in found[-1]:
            ends += int(found[-1]["_final_obs"].sum())
            np.testing.assert_equal(found[-1]["final_obs"].tolist(), expected[-1]["final_obs"].tolist())
            np.testing.assert_equal(found[-1]["final_info"]["task"], expected[-1]["final_info"]["task"])
    assert ends > 3, "the test needs episodes that end"


def test_a_task_is_given_and_bad_input_refused() -> None:
    env = gymnasium.make_vec("metarl/HalfCheetahVelocity-v0", num_envs=2)
    assert env.reset(options={"task": {"target_velocity": 1.5}})[1]["task"]["target_velocity"].tolist() == [1.5, 1.5]
    env.close()
    assert env.reset(seed=1)[0].shape == (2, 20), "it works after close"
    with pytest.raises(Refusal, match="a seed for each of 2 environments, got 1"):
        env.reset(seed=[1])
    with pytest.raises(Refusal, match="at least 1, got 0"):
        gymnasium.make_vec("metarl/HalfCheetahVelocity-v0", num_envs=0)
    with pytest.raises(Refusal, match="target_velocity"):
        gymnasium.make_vec("metarl/HalfCheetahVelocity-v0", num_envs=2, task={"speed": 1.0})


def test_ppo_trains_on_it() -> None:
    vector = gymnasium.make_vec("metarl/HopperVelocity-v0", num_envs=4)
    env = VecMonitor(sb3_vec_env(vector))
    model = PPO("MlpPolicy", env, n_steps=125, batch_size=100, seed=0, device="cpu", n_epochs=2)
    before = model.policy.action_net.weight.detach().clone()
    model.learn(2_000)
    assert model.num_timesteps == 2_000
    assert not (model.policy.action_net.weight == before).all()
    assert len(model.ep_info_buffer) > 10 and all(1 <= each["l"] <= 200 for each in model.ep_info_buffer)
