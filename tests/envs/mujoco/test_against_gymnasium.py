"""Robots against Gymnasium's v5 environments: free-running, with random actions, to the end of each episode."""

import gymnasium
import mujoco
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


NO_CONTACT = {"include_cfrc_ext_in_observation": False, "contact_cost_weight": 0}
ROBOTS = {
    "half-cheetah": ("half-cheetah-direction", {"direction": 1.0}, "HalfCheetah-v5", {"ctrl_cost_weight": 0.05}),
    "half-cheetah backward": (
        "half-cheetah-direction",
        {"direction": -1.0},
        "HalfCheetah-v5",
        {"forward_reward_weight": -1.0, "ctrl_cost_weight": 0.05},
    ),
    "ant": ("ant-direction", {"direction": 0.0}, "Ant-v5", NO_CONTACT),
    "hopper": ("hopper-dynamics", dict.fromkeys(("mass", "damping", "friction"), 1.0), "Hopper-v5", {}),
    "walker2d": ("walker2d-dynamics", dict.fromkeys(("mass", "damping", "friction"), 1.0), "Walker2d-v5", {}),
    "humanoid": ("humanoid-direction", {"direction": 0.0}, "Humanoid-v5", NO_CONTACT),
    "cartpole": ("cartpole-dynamics", {"length": 1.0, "gear": 1.0}, "InvertedPendulum-v5", {}),
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


# Where a family's reward is none of Gymnasium's, it is computed from what Gymnasium tells of the step.
TARGETS = {
    "half-cheetah-velocity": ("HalfCheetah-v5", 1.5, 0.0, 0.05),
    "hopper-velocity": ("Hopper-v5", 1.5, 3.0, 1e-3),
    "walker2d-velocity": ("Walker2d-v5", 1.5, 3.0, 1e-3),
    "swimmer-velocity": ("Swimmer-v5", 0.15, 0.0, 1e-4),
    "ant-velocity": ("Ant-v5", 2.5, 1.05, 0.005),
}


@pytest.mark.parametrize("name", TARGETS)
def test_target_velocities(name) -> None:
    environment, target, bonus, control_cost = TARGETS[name]
    options = NO_CONTACT if environment == "Ant-v5" else {}
    for transition, observation, _, ended, info, action in free_run(
        name, {"target_velocity": target}, environment, **options
    ):
        np.testing.assert_allclose(transition.observations[0, 0, : len(observation)], observation, rtol=0, atol=1e-9)
        expected = bonus * (not ended) - abs(info["x_velocity"] - target) - control_cost * (action**2).sum()
        np.testing.assert_allclose(transition.rewards[0, 0], expected, rtol=0, atol=1e-9)
        assert transition.terminated[0, 0] == ended


@pytest.mark.parametrize(("name", "bonus", "weight", "cost"), [("ant", 1.0, 1.0, 0.5), ("humanoid", 5.0, 1.25, 0.1)])
def test_directions(name, bonus, weight, cost) -> None:
    angle = 2.0
    for transition, _, _, ended, info, action in free_run(
        f"{name}-direction", {"direction": angle}, f"{name.title()}-v5", **NO_CONTACT
    ):
        speed = np.cos(angle) * info["x_velocity"] + np.sin(angle) * info["y_velocity"]
        expected = weight * speed + bonus * (not ended) - cost * (action**2).sum()
        np.testing.assert_allclose(transition.rewards[0, 0], expected, rtol=0, atol=1e-9)


def test_ant_goals() -> None:
    options = {**NO_CONTACT, "exclude_current_positions_from_observation": False, "terminate_when_unhealthy": False}
    for transition, observation, _, ended, _, action in free_run(
        "ant-goal", {"goal_x": 1.0, "goal_y": -2.0}, "Ant-v5", **options
    ):
        np.testing.assert_allclose(transition.observations[0, 0], observation, rtol=0, atol=1e-9)
        # xpos, which the reward reads, is one Runge-Kutta stage older than qpos.
        expected = -abs(observation[0] - 1.0) - abs(observation[1] + 2.0) - 0.1 * (action**2).sum()
        np.testing.assert_allclose(transition.rewards[0, 0], expected, rtol=0, atol=0.1)
        assert not ended
        assert not transition.terminated.any()


def test_the_pendulum_is_gymnasiums_up_to_its_speed_limit() -> None:
    family, peer = get_family("pendulum-gravity"), gymnasium.make("Pendulum-v1", g=7.0).unwrapped
    simulator, random = family.make_simulator(1), np.random.default_rng(0)
    compared = 0
    for seed in range(40):
        peer.reset(seed=seed)
        cosine, sine, speed = simulator.reset(np.array([[7.0]]), np.array([[seed]]))[0, 0]
        peer.state = np.array([np.arctan2(sine, cosine), speed])
        for _ in range(50):
            action = random.uniform(-2.5, 2.5, 1)
            transition = simulator.step(action[np.newaxis, np.newaxis])
            _, reward, _, _, _ = peer.step(action)
            angle, speed = peer.state  # in double precision, unlike the observation
            if abs(speed) > 7.99:
                break
            np.testing.assert_allclose(transition.observations[0, 0], [np.cos(angle), np.sin(angle), speed], atol=1e-9)
            np.testing.assert_allclose(transition.rewards[0, 0], reward, atol=1e-9)
            compared += 1
    assert compared > STEPS
    simulator.close()


# --- the model fields of tasks against the same changes of Gymnasium's model


def change_mass(model, factor):
    model.body_mass[:] *= factor
    model.body_inertia[:] *= factor


CHANGES = {
    "mass": change_mass,
    "damping": lambda model, factor: model.dof_damping.__imul__(factor),
    "friction": lambda model, factor: model.geom_friction.__imul__(factor),
    "gear": lambda model, factor: model.actuator_gear.__imul__(factor),
    "joint": lambda model, value: model.actuator_gear.__setitem__(int(value), 0),
    "leg": lambda model, value: model.actuator_gear.__setitem__([2 * int(value), 2 * int(value) + 1], 0),
}


@pytest.mark.parametrize(
    ("name", "environment", "options"),
    [
        ("half-cheetah-dynamics", "HalfCheetah-v5", {"ctrl_cost_weight": 0.05}),
        ("hopper-dynamics", "Hopper-v5", {}),
        ("walker2d-dynamics", "Walker2d-v5", {}),
        ("half-cheetah-disabled-joint", "HalfCheetah-v5", {"ctrl_cost_weight": 0.05}),
        ("ant-disabled-leg", "Ant-v5", NO_CONTACT),
    ],
)
def test_changed_models_equal_gymnasiums(name, environment, options) -> None:
    """Several tasks side by side, each against Gymnasium's environment with its model changed and its constants."""
    family = get_family(name)
    tasks, random = family.sample_tasks(4, np.random.default_rng(3)), np.random.default_rng(0)
    simulator = family.make_simulator(2)
    seeds = np.arange(4)[:, np.newaxis]
    observations = simulator.reset(tasks, seeds)
    peers = []
    for task, seed in zip(tasks, seeds[:, 0], strict=True):
        peer = gymnasium.make(environment, **options).unwrapped
        for field, value in family.task_dict(task).items():
            CHANGES[field](peer.model, value)
        mujoco.mj_setConst(peer.model, peer.data)
        peer.reset(seed=int(seed))
        peers.append(peer)
    ended = np.zeros(4, dtype=bool)
    for _ in range(100):
        actions = random.uniform(-1, 1, (4, 1, *family.action_space.shape))
        transition = simulator.step(actions)
        for index, peer in enumerate(peers):
            if not ended[index]:
                observation, reward, ended[index], _, _ = peer.step(actions[index, 0])
                ours = transition.observations[index, 0, : len(observation)]
                np.testing.assert_allclose(ours, observation, rtol=0, atol=1e-9)
                np.testing.assert_allclose(transition.rewards[index, 0], reward, rtol=0, atol=1e-9)
            assert transition.terminated[index, 0] == ended[index]
    simulator.close()
    assert observations.shape == transition.observations.shape


def test_half_cheetah_observes_where_its_torso_is() -> None:
    simulator = get_family("half-cheetah-velocity").make_simulator(1)
    simulator.reset(np.ones((1, 1)), np.array([[5]]))
    observation = simulator.step(np.ones((1, 1, 6))).observations[0, 0]
    model, data = simulator.first_episode()
    simulator.close()
    np.testing.assert_allclose(observation[17:], data.body("torso").xpos, atol=1e-12)
    assert model.nq == 9
