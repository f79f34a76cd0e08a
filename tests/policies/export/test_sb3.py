"""Policies out to Stable-Baselines3's PPO and back, against its own ``predict``."""

from __future__ import annotations

import io
import json
import math
import pickle
import zipfile
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from point_family import TINY, point_family
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import metarl
from metarl.core.errors import Refusal
from metarl.envs.registry import get_family
from metarl.policies.export.sb3 import read_sb3
from metarl.policies.export.vec_normalize import read_vec_normalize
from metarl.policies.loading import load_start
from metarl.rl.settings import preset
from metarl.rl.training import PolicyTraining

RELU = {"activation_fn": torch.nn.ReLU, "net_arch": {"pi": [8, 6], "vf": [4]}}
NAVIGATION = {"meta_batch_size": 2, "episodes_per_task": 2, "iterations": 1, "horizon": 5, "threads": 1}


@pytest.mark.parametrize("name", ["half-cheetah-velocity/p-meta", "navigation-2d/maml"])
def test_actions_are_the_controllers(name: str, tmp_path: Path) -> None:
    controller = metarl.load(name)
    model = metarl.to_sb3(controller)
    observations = np.random.default_rng(0).standard_normal((50, controller.network.observation_size))
    expected = controller.predict(observations)[0]
    np.testing.assert_allclose(model.predict(observations, deterministic=True)[0], expected, atol=1e-6)
    model.save(tmp_path / "model.zip")
    loaded = PPO.load(tmp_path / "model.zip", device="cpu")
    np.testing.assert_allclose(loaded.predict(observations, deterministic=True)[0], expected, atol=1e-6)
    deviation = controller.network.log_std(controller.parameters).exp() * controller.metadata.action_scale
    torch.testing.assert_close(model.policy.log_std.exp().detach(), deviation)


def test_it_is_evaluated_and_trained_on() -> None:
    env = gymnasium.make("metarl/Navigation2D-v0", task={"goal_x": 0.3, "goal_y": -0.2})
    model = metarl.to_sb3(metarl.load("navigation-2d/maml"), env, n_steps=64, batch_size=32)
    returns, lengths = evaluate_policy(model, env, n_eval_episodes=2, return_episode_rewards=True, warn=False)
    assert len(returns) == 2 and all(np.isfinite(returns)) and max(lengths) <= 200
    before = model.policy.action_net.weight.detach().clone()
    model.learn(2_000)
    assert not torch.equal(model.policy.action_net.weight, before)


def test_a_policy_of_ppo_starts_a_meta_training(tmp_path: Path) -> None:
    env = gymnasium.make("metarl/Navigation2D-v0")
    model = PPO("MlpPolicy", env, policy_kwargs=RELU, n_steps=32, batch_size=32, seed=0, device="cpu")
    model.learn(32)
    model.save(tmp_path / "ppo.zip")
    settings = NAVIGATION | {"hidden_sizes": (8, 6), "method": "maml++", "seed": 3}
    family, chosen = get_family("navigation-2d"), preset("navigation-2d", **settings)
    started = PolicyTraining(family, chosen, load_start(tmp_path / "ppo.zip"))
    controller = started.controller(started.initial_state())
    observations = np.random.default_rng(1).uniform(-0.5, 0.5, (20, 2))
    expected = model.predict(observations, deterministic=True)[0]
    np.testing.assert_allclose(controller.predict(observations)[0], expected, atol=1e-6)
    deviation = controller.network.log_std(controller.parameters).exp() * controller.metadata.action_scale
    torch.testing.assert_close(deviation, model.policy.log_std.exp().detach())
    assert metarl.train("navigation-2d", init=tmp_path / "ppo.zip", **settings).metadata.training["iterations"] == 1


@pytest.mark.parametrize("normalize", [True, False])
def test_statistics_of_vec_normalize_come_along(tmp_path: Path, normalize: bool) -> None:
    env = VecNormalize(DummyVecEnv([lambda: gymnasium.make("metarl/Navigation2D-v0")]), epsilon=1e-3)
    model = PPO("MlpPolicy", env, policy_kwargs=RELU, n_steps=64, batch_size=32, seed=0, device="cpu")
    model.learn(64)
    model.save(tmp_path / "ppo.zip")
    env.save(tmp_path / "vecnormalize.pkl")
    env.training = False
    settings = NAVIGATION | {"hidden_sizes": (8, 6), "normalize_observations": normalize}
    start = load_start(tmp_path / "ppo.zip", tmp_path / "vecnormalize.pkl")
    started = PolicyTraining(get_family("navigation-2d"), preset("navigation-2d", **settings), start)
    controller = started.controller(started.initial_state())
    observations = np.random.default_rng(1).uniform(-0.05, 0.05, (20, 2)) + env.obs_rms.mean
    normalized = env.normalize_obs(observations)
    assert 0.1 < np.abs(normalized).max() < 10
    expected = model.predict(normalized, deterministic=True)[0]
    np.testing.assert_allclose(controller.predict(observations)[0], expected, atol=1e-6)
    assert ("observation_mean" in controller.parameters) == normalize
    files = {"init": tmp_path / "ppo.zip", "init_normalization": tmp_path / "vecnormalize.pkl"}
    assert metarl.train("navigation-2d", **files, **settings).metadata.training["iterations"] == 1


def test_statistics_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    def written(name: str, **options: object) -> dict[str, Path]:
        path = tmp_path / name
        VecNormalize(DummyVecEnv([lambda: gymnasium.make("Pendulum-v1")]), **options).save(path)
        return {"init": tmp_path / "ppo.zip", "init_normalization": path}

    env = gymnasium.make("metarl/Navigation2D-v0")
    PPO("MlpPolicy", env, policy_kwargs=RELU, n_steps=8, batch_size=8, device="cpu").save(tmp_path / "ppo.zip")
    settings = NAVIGATION | {"hidden_sizes": (8, 6)}
    with pytest.raises(Refusal, match="normalization to start from has the observations 3, and the settings ask for 2"):
        metarl.train("navigation-2d", **written("three.pkl"), **settings)
    with pytest.raises(Refusal, match="has no statistics of observations that are vectors"):
        metarl.train("navigation-2d", **written("none.pkl", norm_obs=False), **settings)
    (tmp_path / "text.pkl").write_text("no pickle")
    with pytest.raises(Refusal, match="is no file that VecNormalize of Stable-Baselines3 saved"):
        read_vec_normalize(tmp_path / "text.pkl")
    with pytest.raises(Refusal, match=r"cannot read .*missing.pkl: No such file"):
        read_vec_normalize(tmp_path / "missing.pkl")
    with pytest.raises(Refusal, match=r"statistics of VecNormalize go with the .zip of a PPO"):
        metarl.train("navigation-2d", init_normalization=tmp_path / "three.pkl", **settings)
    (tmp_path / "trap.pkl").write_bytes(pickle.dumps({"obs_rms": Trap(tmp_path)}))
    with pytest.raises(Refusal, match="is no file that VecNormalize"):
        read_vec_normalize(tmp_path / "trap.pkl")
    assert not (tmp_path / "sprung").exists()


def saved(path: Path, **kwargs: object) -> Path:
    model = PPO("MlpPolicy", "Pendulum-v1", n_steps=8, batch_size=8, device="cpu", **kwargs)
    model.save(path)
    return path


@pytest.mark.parametrize("explicit", [False, True])
def test_a_tanh_network_starts_a_training_and_adapts(explicit: bool, tmp_path: Path) -> None:
    """PPO's own activation, by default or by name; and back to a PPO."""
    architecture = {"net_arch": [8, 6]} | ({"activation_fn": torch.nn.Tanh} if explicit else {})
    model = PPO("MlpPolicy", gymnasium.make("metarl/Navigation2D-v0"), policy_kwargs=architecture, device="cpu")
    model.save(tmp_path / "ppo.zip")
    settings = NAVIGATION | {"hidden_sizes": (8, 6), "activation": "tanh"}
    start = load_start(tmp_path / "ppo.zip")
    training = PolicyTraining(get_family("navigation-2d"), preset("navigation-2d", **settings), start)
    controller = training.controller(training.initial_state())
    observations = np.random.default_rng(1).uniform(-0.5, 0.5, (20, 2)).astype(np.float32)
    expected = model.predict(observations, deterministic=True)[0]
    np.testing.assert_allclose(controller.predict(observations)[0], expected, atol=1e-6)
    controller.save(tmp_path / "tanh.safetensors")
    loaded = metarl.load(tmp_path / "tanh.safetensors")
    assert loaded.network == controller.network and loaded.network.activation == "tanh"
    adapted = metarl.adapt(loaded, {"goal_x": 0.3, "goal_y": 0.2})
    assert np.abs(adapted.predict(observations)[0] - expected).max() > 1e-4
    again = metarl.to_sb3(adapted).predict(observations, deterministic=True)[0]
    np.testing.assert_allclose(again, adapted.predict(observations)[0], atol=1e-6)
    with pytest.raises(Refusal, match="has the activation tanh, and the settings ask for relu"):
        metarl.train("navigation-2d", init=tmp_path / "ppo.zip", **settings | {"activation": "relu"})


def test_policies_that_do_not_fit_are_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="another activation than ReLU and tanh"):
        read_sb3(saved(tmp_path / "elu.zip", policy_kwargs={"activation_fn": torch.nn.ELU}))
    with pytest.raises(Refusal, match=r"policy to start from has the hidden sizes \(8, 6\), and the settings ask for"):
        metarl.train("navigation-2d", init=saved(tmp_path / "wide.zip", policy_kwargs=RELU), **NAVIGATION)
    with pytest.raises(Refusal, match="has the observations 3, and the settings ask for 2"):
        metarl.train("navigation-2d", init=tmp_path / "wide.zip", hidden_sizes=(8, 6), **NAVIGATION)
    with pytest.raises(Refusal, match="fixed deviation"):
        read_sb3(saved(tmp_path / "sde.zip", policy_kwargs=RELU, use_sde=True))
    (tmp_path / "text.zip").write_text("no archive")
    with pytest.raises(Refusal, match="is no file that PPO of Stable-Baselines3 saved"):
        read_sb3(tmp_path / "text.zip")
    with pytest.raises(Refusal, match="cannot read .*missing.zip: No such file"):
        read_sb3(tmp_path / "missing.zip")


def test_a_hostile_file_runs_no_code(tmp_path: Path) -> None:
    """PPO's own loader unpickles what the file brings; here a pickle in the place of the weights is refused."""
    content = io.BytesIO()
    torch.save({"action_net.weight": Trap(tmp_path)}, content)
    with zipfile.ZipFile(tmp_path / "trap.zip", "w") as file:
        file.writestr("data", json.dumps({}))
        file.writestr("policy.pth", content.getvalue())
    with pytest.raises(Refusal, match="is no file"):
        read_sb3(tmp_path / "trap.zip")
    assert not (tmp_path / "sprung").exists()


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (self.folder / "sprung",))


def test_one_task_is_held_over_episodes_and_can_be_told() -> None:
    task = {"goal_x": 0.25, "goal_y": -0.5}
    env = gymnasium.make("metarl/Navigation2D-v0", task=task, observe_task=True)
    for seed in (0, None):
        observation, info = env.reset(seed=seed)
        assert info["task"] == task
        scale = math.sqrt(12)  # goals are uniform in [-0.5, 0.5], of deviation 1 / sqrt(12)
        np.testing.assert_allclose(observation, [0, 0, 0.25 * scale, -0.5 * scale])
    other = {"goal_x": 0.0, "goal_y": 0.1}
    assert env.reset(options={"task": other})[1]["task"] == other
    assert env.reset()[1]["task"] == task
    with pytest.raises(Refusal, match="goal_y"):
        gymnasium.make("metarl/Navigation2D-v0", task={"goal_x": 0.0})


@pytest.mark.parametrize("name", ["Navigation2D", "HalfCheetahVelocity", "AntDirection", "HopperDynamics"])
def test_the_checker_of_stable_baselines3_passes(name: str) -> None:
    env = gymnasium.make(f"metarl/{name}-v0", render_mode="rgb_array").unwrapped
    check_env(env, warn=False, skip_render_check=False)


def test_a_training_without_a_start_is_as_before() -> None:
    first, second = (metarl.train(point_family(), settings=TINY) for _ in range(2))
    assert all(torch.equal(first.parameters[name], second.parameters[name]) for name in first.parameters)
