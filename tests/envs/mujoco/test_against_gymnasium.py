"""Robots against Gymnasium's v5 environments: free-running, with random actions, to the end of each episode."""

import gymnasium
import numpy as np
import pytest

from metarl.envs.registry import get_family
from metarl.experiments.bench.robots import make_robot

STEPS = 400


def free_run(name, task, environment, **options):
    """Step both side by side; yield both transitions and Gymnasium's info. Start anew where an episode ends."""
    family = get_family(name)
    simulator, peer = family.make_simulator(1), gymnasium.make(environment, **options).unwrapped
    random = np.random.default_rng(0)
    values = np.array([list(task.values())], dtype=np.float64)
    steps = 0
    while steps < STEPS:
        seed = int(random.integers(2**31))
        observation, info = peer.reset(seed=seed)
        ours = simulator.reset(values, np.array([[seed]]))[0, 0]
        np.testing.assert_allclose(ours[: len(observation)], observation, rtol=0, atol=1e-12)
        ended = False
        while not ended and steps < STEPS:
            action = random.uniform(-1.3, 1.3, family.action_space.shape) * family.action_space.high
            action = action.clip(family.action_space.low, family.action_space.high)
            transition = simulator.step(action[np.newaxis, np.newaxis])
            observation, reward, ended, _, info = peer.step(action)
            yield transition, observation, reward, ended, info, action
            steps += 1
    simulator.close()
    peer.close()


ROBOTS = {
    "half-cheetah": ("half-cheetah-direction", {"direction": 1.0}, "HalfCheetah-v5", {"ctrl_cost_weight": 0.05}),
    "half-cheetah backward": (
        "half-cheetah-direction",
        {"direction": -1.0},
        "HalfCheetah-v5",
        {"forward_reward_weight": -1.0, "ctrl_cost_weight": 0.05},
    ),
}


@pytest.fixture(scope="module", autouse=True)
def quiet_mujoco():
    make_robot("HalfCheetah-v5", 1).close()  # first, or MuJoCo leaves its log in the current folder


@pytest.mark.parametrize("robot", ROBOTS)
def test_transitions_equal_gymnasiums(robot) -> None:
    ends = 0
    for transition, observation, reward, ended, _, _ in free_run(*ROBOTS[robot][:3], **ROBOTS[robot][3]):
        ours = transition.observations[0, 0]
        np.testing.assert_allclose(ours[: len(observation)], observation, rtol=0, atol=1e-9)
        np.testing.assert_allclose(transition.rewards[0, 0], reward, rtol=0, atol=1e-9)
        assert transition.terminated[0, 0] == ended
        ends += ended
    assert (ends > 0) == (not robot.startswith("half-cheetah"))


# What Gymnasium rewards is replaced by the distance to a target velocity.
TARGETS = {
    "half-cheetah-velocity": ("HalfCheetah-v5", 0.0, 0.05),
    "hopper-velocity": ("Hopper-v5", 3.0, 1e-3),
}


@pytest.mark.parametrize("name", TARGETS)
def test_target_velocities(name) -> None:
    environment, bonus, control_cost = TARGETS[name]
    ends = 0
    for transition, observation, _, ended, info, action in free_run(name, {"target_velocity": 1.5}, environment):
        np.testing.assert_allclose(transition.observations[0, 0, : len(observation)], observation, rtol=0, atol=1e-9)
        expected = bonus * (not ended) - abs(info["x_velocity"] - 1.5) - control_cost * (action**2).sum()
        np.testing.assert_allclose(transition.rewards[0, 0], expected, rtol=0, atol=1e-9)
        assert transition.terminated[0, 0] == ended
        ends += ended
    assert (ends > 0) == (not name.startswith("half-cheetah"))


def test_half_cheetah_observes_where_its_torso_is() -> None:
    simulator = get_family("half-cheetah-velocity").make_simulator(1)
    simulator.reset(np.ones((1, 1)), np.array([[5]]))
    observation = simulator.step(np.ones((1, 1, 6))).observations[0, 0]
    model, data = simulator.first_episode()
    simulator.close()
    np.testing.assert_allclose(observation[17:], data.body("torso").xpos, atol=1e-12)
    assert model.nq == 9
