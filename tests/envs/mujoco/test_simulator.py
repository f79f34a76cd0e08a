"""The batched simulator against one MjData per episode, against itself, and with bad input."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import metarl
from metarl.core.errors import NumericalFault, Refusal
from metarl.core.user_code import UserCodeError
from metarl.envs.family import TaskField
from metarl.envs.mujoco import rewards
from metarl.envs.mujoco.families import robot_family
from metarl.envs.mujoco.half_cheetah import HALF_CHEETAH, direction_reward
from metarl.envs.mujoco.robot import Robot, Step, normal_start, uniform_start
from metarl.envs.registry import get_family

FAMILY = get_family("half-cheetah-velocity")
SLIDER = """
<mujoco model="slider">
  <option timestep="0.01" gravity="0 0 -10" integrator="Euler"/>
  <worldbody>
    <body name="cart">
      <joint name="slide" type="slide" axis="1 0 0"/>
      <geom name="box" type="box" size="0.1 0.1 0.1" mass="2" contype="0" conaffinity="0"/>
    </body>
  </worldbody>
  <actuator><motor name="push" joint="slide" ctrlrange="-3 2" ctrllimited="true" gear="4"/></actuator>
</mujoco>
"""

TARGET = TaskField("target", -1.0, 1.0)


def observe(fields):
    return np.concatenate([fields["qpos"], fields["qvel"]], axis=1)


def slider(fields=(TARGET,), reward=None, **options):
    """Make the family of a cart on a rail: 2 kg, up to 8 N; it accelerates by 2 m/s^2 at an action of 1."""
    robot = replace(Robot(SLIDER, 2, observe, uniform_start(0.0)), **options.pop("robot", {}))
    return robot_family("slider", robot, fields, reward or (lambda step: step.rate("qpos", 0)), **options)


def roll_out(family, actions, task=(0.0,), seeds=((0,),), threads=1):
    """Return the observations [time, task, episode, feature] and the rewards of given actions [time]."""
    simulator = family.make_simulator(threads)
    seeds = np.array(seeds)
    observations, rewards = [simulator.reset(np.tile(task, (len(seeds), 1)).astype(float), seeds)], []
    for action in actions:
        transition = simulator.step(np.full((*seeds.shape, 1), action))
        observations.append(transition.observations)
        rewards.append(transition.rewards)
    simulator.close()
    return np.array(observations), np.array(rewards)


# --- physics


def test_the_physics_of_a_cart_worked_by_hand() -> None:
    """Semi-implicit Euler: v += h a, then x += h v, twice per control step."""
    observations, rewards = roll_out(slider(), [1.0, 1.0, -5.0])
    positions, velocity, expected = 0.0, 0.0, [(0.0, 0.0)]
    for action in (1.0, 1.0, -3.0):  # clipped to the control range
        for _ in range(2):
            velocity += 0.01 * 4 * action / 2
            positions += 0.01 * velocity
        expected.append((positions, velocity))
    np.testing.assert_allclose(observations[:, 0, 0], expected, atol=1e-12)
    np.testing.assert_allclose(rewards[:, 0, 0], np.diff(observations[:, 0, 0, 0]) / 0.02)


@pytest.mark.parametrize("threads", [1, 3])
def test_each_episode_is_one_mjdata_stepped_alone(threads: int) -> None:
    simulator = FAMILY.make_simulator(threads)
    seeds = np.arange(6).reshape(2, 3)
    observations = simulator.reset(np.array([[0.5], [1.0]]), seeds)
    data = [mujoco.MjData(simulator.model) for _ in range(6)]
    for one, observed in zip(data, observations.reshape(6, -1), strict=True):
        one.qpos[1:], one.qpos[0], one.qvel[:] = observed[:8], observed[17], observed[8:17]
    random = np.random.default_rng(0)
    for _ in range(50):
        actions = random.uniform(-1, 1, (2, 3, 6))
        observed = simulator.step(actions).observations.reshape(6, -1)
        for one, action, row in zip(data, actions.reshape(6, 6), observed, strict=True):
            one.ctrl[:] = action
            mujoco.mj_step(simulator.model, one, nstep=5)
            np.testing.assert_array_equal(row[:17], np.concatenate([one.qpos[1:], one.qvel]))
    simulator.close()


def test_starts() -> None:
    model = mujoco.MjModel.from_xml_string(SLIDER)
    model.qpos0[:] = 5.0
    for start, bound in ((uniform_start(0.1), 0.1), (normal_start(0.1), np.inf)):
        positions, velocities = np.array([start(model, np.random.default_rng(seed)) for seed in range(400)]).T[0]
        assert 0.05 < np.abs(positions - 5).max() < 0.1
        assert 0.05 < np.abs(velocities).max() < bound
        np.testing.assert_allclose(velocities.std(), 0.1 if bound == np.inf else 0.1 / np.sqrt(3), rtol=0.1)


# --- rewards


def half_cheetah_step(velocities, actions, **tasks) -> Step:
    before = {"qpos": np.zeros((2, 9))}
    after = {"qpos": np.array(velocities)[:, np.newaxis] * 0.05 * np.eye(9)[:1]}
    values = {name: np.array(value) for name, value in tasks.items()}
    return Step(before, after, np.array(actions), values, np.full(2, 0.05), np.ones(2, dtype=bool))


def test_rewards_by_hand() -> None:
    actions = [[1.0, -1.0, 0.5, 0, 0, 0], [0, 0, 0, 0, 0, 2.0]]
    step = half_cheetah_step([1.2, -0.5], actions, target_velocity=[2.0, -1.0], direction=[2.0, -1.0])
    np.testing.assert_allclose(rewards.target_velocity(0.05)(step), [-0.8 - 0.1125, -0.5 - 0.2])
    np.testing.assert_allclose(direction_reward(step), [2.4 - 0.1125, 0.5 - 0.2])


# --- independence


@given(st.integers(1, 3), st.integers(1, 4), st.integers(0, 2**31 - 1))
@settings(max_examples=15, deadline=None)
def test_shapes_and_finite_numbers(tasks: int, episodes: int, seed: int) -> None:
    simulator = get_family("half-cheetah-direction").make_simulator(1)
    seeds = np.random.default_rng(seed).integers(2**31, size=(tasks, episodes))
    observations = simulator.reset(np.ones((tasks, 1)), seeds)
    transition = simulator.step(np.zeros((tasks, episodes, 6)))
    simulator.close()
    assert observations.shape == transition.observations.shape == (tasks, episodes, 20)
    assert transition.rewards.shape == transition.terminated.shape == (tasks, episodes)
    assert np.isfinite(transition.observations).all() and not transition.terminated.any()


def test_what_is_returned_is_the_callers() -> None:
    simulator = FAMILY.make_simulator(1)
    arguments = np.ones((1, 1)), np.array([[4]])
    simulator.reset(*arguments)
    expected = [simulator.step(np.ones((1, 1, 6))) for _ in range(2)]
    simulator.reset(*arguments)[:] = np.nan
    for before in expected:
        transition = simulator.step(np.ones((1, 1, 6)))
        np.testing.assert_array_equal(transition.observations, before.observations)
        np.testing.assert_array_equal(transition.rewards, before.rewards)
        np.testing.assert_array_equal(transition.terminated, before.terminated)
        for part in transition[:3]:
            part[:] = True
    simulator.close()


def test_observations_are_copies_of_the_fields() -> None:
    family = slider(robot={"observe": lambda fields: fields["qpos"]})
    simulator = family.make_simulator(1)
    first = simulator.reset(np.zeros((1, 1)), np.array([[0]]))
    simulator.step(np.ones((1, 1, 1)))
    assert first == 0.0
    simulator.close()


def test_simulators_run_side_by_side() -> None:
    """Several Python threads, each with a simulator of its own, give what they give one after the other."""
    actions = np.random.default_rng(2).uniform(-1, 1, (60, 2, 5, 6))

    def observations(seed: int) -> np.ndarray:
        simulator = FAMILY.make_simulator(2)
        simulator.reset(np.ones((2, 1)), seed + np.arange(10).reshape(2, 5))
        rows = np.stack([simulator.step(action).observations for action in actions])
        simulator.close()
        return rows

    alone = [observations(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as workers:
        together = list(workers.map(observations, range(4)))
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("threads", [1, 3])
def test_episodes_do_not_depend_on_threads_or_neighbors(threads: int) -> None:
    random = np.random.default_rng(1)
    tasks, seeds = random.uniform(0, 2, (4, 1)), random.integers(2**31, size=(4, 3))
    actions = random.uniform(-1, 1, (20, 4, 3, 6))

    def outcomes(chosen: slice, threads: int) -> np.ndarray:
        simulator = FAMILY.make_simulator(threads)
        rows = [simulator.reset(tasks[chosen], seeds[chosen])]
        rows += [simulator.step(action[chosen]).observations for action in actions]
        simulator.close()
        return np.stack(rows)

    everything = outcomes(slice(None), 2)
    np.testing.assert_array_equal(outcomes(slice(None), threads), everything)
    np.testing.assert_array_equal(outcomes(slice(1, 3), threads), everything[:, 1:3])


def test_a_closed_simulator_works_after_a_reset() -> None:
    simulator = FAMILY.make_simulator(2)
    arguments = np.ones((1, 1)), np.array([[4, 5]])
    simulator.reset(*arguments)
    before = simulator.step(np.ones((1, 2, 6)))
    simulator.close()
    simulator.close()
    simulator.reset(*arguments)
    np.testing.assert_array_equal(simulator.step(np.ones((1, 2, 6))).observations, before.observations)
    simulator.close()


# --- ends of episodes


def test_an_episode_that_has_ended_stands_still() -> None:
    family = slider(
        robot={"healthy": lambda fields: fields["qpos"][:, 0] < 0.05}, reward=lambda step: step.healthy + 1.0
    )
    simulator = family.make_simulator(1)
    simulator.reset(np.zeros((1, 1)), np.array([[0, 1]]))
    seen = []
    for _ in range(20):
        transition = simulator.step(np.array([[[2.0], [-1.0]]]))
        seen.append((transition.observations[0, 0, 0], transition.rewards[0, 0], transition.terminated[0, 0]))
        assert not transition.terminated[0, 1] and transition.rewards[0, 1] == 2.0
    simulator.close()
    end = next(index for index, (_, _, ended) in enumerate(seen) if ended)
    assert 0 < end < 19
    assert seen[end][0] >= 0.05 > seen[end - 1][0]
    assert [reward for _, reward, _ in seen] == [2.0] * end + [1.0] + [0.0] * (19 - end)
    assert set(seen[end + 1 :]) == {(seen[end][0], 0.0, True)}


def test_an_end_is_final_whatever_healthy_says_later() -> None:
    answers = iter([True, False, True, True])
    family = slider(robot={"healthy": lambda fields: np.array([next(answers)])})
    simulator = family.make_simulator(1)
    simulator.reset(np.zeros((1, 1)), np.array([[0]]))
    ended = [simulator.step(np.zeros((1, 1, 1))).terminated[0, 0] for _ in range(4)]
    simulator.close()
    assert ended == [False, True, True, True]


# --- models that differ between tasks


def vary_mass(model, task):
    model.body("cart").mass *= task["mass"]
    return model


def test_each_task_has_its_model() -> None:
    family = slider((TaskField("mass", 0.5, 4.0),), vary=vary_mass)
    simulator = family.make_simulator(2)
    for tasks in ([[1.0], [2.0], [4.0]], [[0.5], [1.0], [1.0]]):  # again, in the same simulator
        simulator.reset(np.array(tasks), np.zeros((3, 2), np.int64))
        velocities = simulator.step(np.ones((3, 2, 1))).observations[..., 1]
        np.testing.assert_allclose(velocities, 0.02 * 2 / np.tile(tasks, (1, 2)))
    simulator.close()
    assert simulator.model.body("cart").mass == 2.0


def test_constants_that_follow_from_a_model_are_recomputed() -> None:
    """The inverse weights of bodies scale contact forces: MuJoCo computes them when it compiles a model."""
    robot = replace(HALF_CHEETAH, spaces=None)

    def vary(model, task):
        model.body_mass *= task["mass"]
        model.body_inertia *= task["mass"]
        model.dof_armature *= task["mass"]
        return model

    family = robot_family("heavy", robot, (TaskField("mass", 0.5, 2.0),), lambda step: step.rate("qpos", 0), vary=vary)
    simulator = family.make_simulator(1)
    simulator.reset(np.array([[2.0]]), np.array([[0]]))
    changed = simulator.batch.get_model(0)
    simulator.close()
    np.testing.assert_allclose(changed.body_invweight0, simulator.model.body_invweight0 / 2, rtol=1e-9)
    np.testing.assert_allclose(changed.body_subtreemass, simulator.model.body_subtreemass * 2, rtol=1e-9)


@pytest.mark.parametrize(
    ("vary", "fields", "sentence"),
    [
        (vary_mass, (-1.0, 2.0), r"the model of slider \(value=-1\) has body_mass -2 in row 1: it must be above 0"),
        (vary_mass, (0.0, 2.0), r"the model of slider \(value=0\) has body_mass 0 in row 1: it must be above 0"),
        ("wheel", (1.0, 2.0), r"vary of slider \(value=1\) failed in .*KeyError: .*Invalid name 'wheel'.*cart"),
        ("nothing", (1.0, 2.0), r"vary of slider \(value=1\) must return the model, got None"),
        ("damping", (-3.0, 2.0), r"slider \(value=-3\) has dof_damping -3 in row 0: it must be at least 0"),
    ],
)
def test_impossible_models_are_refused_at_the_ends_of_a_range(vary, fields, sentence) -> None:
    def change(model, task):
        if vary == "wheel":
            model.body("wheel").mass *= task["value"]
        elif vary == "nothing":
            return None
        elif vary == "damping":
            model.dof_damping[:] = task["value"]
        else:
            vary(model, {"mass": task["value"]})
        return model

    robot = {"spaces": (FAMILY.observation_space, FAMILY.action_space)}
    family = slider((TaskField("value", *fields),), vary=change, robot=robot)
    with pytest.raises(Refusal, match=sentence):
        family.make_simulator(1)


# --- a real robot's interface


def test_actions_arrive_late() -> None:
    family = slider((TaskField("delay", 0, 3, choices=(0, 1, 3)),), action_delay="delay")
    simulator = family.make_simulator(1)
    simulator.reset(np.array([[0.0], [1.0], [3.0]]), np.zeros((3, 1), np.int64))
    sent = [1.0, -1.0, 2.0, 0.0, 0.0, 0.0]
    velocities = [simulator.step(np.full((3, 1, 1), action)).observations[:, 0, 1] for action in sent]
    simulator.close()
    applied = np.diff(velocities, axis=0, prepend=0) / 0.04
    np.testing.assert_allclose(applied[:, 0], sent, atol=1e-9)
    np.testing.assert_allclose(applied[:, 1], [0, *sent[:-1]], atol=1e-9)
    np.testing.assert_allclose(applied[:, 2], [0, 0, 0, *sent[:-3]], atol=1e-9)


def test_actions_are_repeated() -> None:
    family = slider((TaskField("repeat", 1, 3, choices=(1, 2, 3)),), action_repeat="repeat")
    simulator = family.make_simulator(1)
    simulator.reset(np.array([[1.0], [3.0]]), np.zeros((2, 1), np.int64))
    transition = simulator.step(np.ones((2, 1, 1)))
    simulator.close()
    np.testing.assert_allclose(transition.observations[:, 0, 1], [0.04, 0.12])
    np.testing.assert_allclose(transition.rewards[:, 0], transition.observations[:, 0, 0] / [0.02, 0.06])


def test_observations_are_noisy_and_the_physics_is_not() -> None:
    noisy = slider((TaskField("noise", 0, 2.0),), observation_noise="noise")
    actions, seeds = np.zeros(100), np.arange(50)[np.newaxis]
    observations, rewards = roll_out(noisy, actions, (0.5,), seeds)
    clean, clean_rewards = roll_out(slider(), actions, (0.5,), seeds)
    noise = (observations - clean).reshape(101, -1)
    np.testing.assert_allclose([noise.std(), noise.mean()], [0.5, 0.0], atol=0.02)
    assert np.abs(np.corrcoef(noise[:-1].ravel(), noise[1:].ravel())[0, 1]) < 0.05
    np.testing.assert_array_equal(rewards, clean_rewards)
    np.testing.assert_array_equal(roll_out(noisy, actions, (0.5,), seeds, threads=2)[0], observations)
    np.testing.assert_array_equal(roll_out(noisy, actions, (0.5,), seeds[:, 3:5])[0], observations[:, :, 3:5])
    np.testing.assert_array_equal(roll_out(noisy, actions, (0.0,), seeds)[0], clean)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"action_delay": "late"}, "action_delay of slider must be a number or one of its task fields, got 'late'"),
        ({"action_repeat": 0}, "action_repeat of slider must be at least 1, got 0"),
        ({"observation_noise": "target"}, "observation_noise of slider must be at least 0, got -1"),
    ],
)
def test_impossible_interfaces(options, sentence) -> None:
    with pytest.raises(Refusal, match=sentence):
        slider(**options)


# --- bad functions


@pytest.mark.parametrize(
    ("robot", "options", "sentence"),
    [
        ({}, {"reward": lambda step: 1.0}, r"reward of slider must return an array of the shape \[1\], got \[\]"),
        ({}, {"reward": lambda step: step.tasks["goal"]}, "reward of slider failed in .*test_simulator.py, .*'goal'"),
        ({"healthy": lambda fields: fields["qpos"] > 0}, {}, r"healthy of slider .* shape \[1\], got \[1, 1\]"),
        ({"start": lambda model, random: (np.zeros(2), np.zeros(1))}, {}, r"start of slider .* \[1\], got \[2\]"),
        ({"observe": lambda fields: fields["qpos"][:, 0]}, {}, r"observe of slider .* \[1, any\], got \[1\]"),
    ],
)
def test_bad_functions_are_told(robot, options, sentence) -> None:
    reward = options.get("reward", lambda step: step.rate("qpos", 0))
    with pytest.raises(UserCodeError, match=sentence):
        roll_out(robot_family("slider", replace(Robot(SLIDER, 2, observe), **robot), (TARGET,), reward), [0.0])


# --- bad models


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("<mujoco><worldbody><box/></worldbody></mujoco>", "the model of slider must be an MJCF file, .*: XML Error"),
        ("nowhere.xml", "there is no file nowhere.xml"),
        ("<mujoco/>", "the model of slider has no actuator"),
        (SLIDER.replace('ctrlrange="-3 2" ctrllimited="true"', ""), "actuator 'push' of slider needs a ctrlrange"),
    ],
)
def test_bad_models(model, sentence) -> None:
    with pytest.raises(Refusal, match=sentence):
        robot_family("slider", Robot(model, 1, observe), (TaskField("a", 0, 1),), lambda step: step.seconds)


def test_a_frame_skip_of_nothing() -> None:
    with pytest.raises(Refusal, match="the frame skip of a robot must be at least 1, got 0"):
        Robot(SLIDER, 0, observe)


def test_a_field_that_mujoco_lacks() -> None:
    with pytest.raises(Refusal, match="the robot of slider reads 'speed': speed is not an MjData array field"):
        slider(robot={"reads": ("qpos", "speed")})


def test_models_as_text_file_and_spec_agree(tmp_path: Path) -> None:
    (tmp_path / "slider.xml").write_text(SLIDER)
    models = [SLIDER, str(tmp_path / "slider.xml"), tmp_path / "slider.xml", mujoco.MjSpec.from_string(SLIDER)]
    results = []
    for model in models:
        family = robot_family(
            "slider", Robot(model, 2, observe), (TaskField("a", 0, 1),), lambda step: step.rate("qpos", 0)
        )
        assert family.observation_space.shape == (2,)
        assert (family.action_space.low, family.action_space.high) == (-3, 2)
        results.append(roll_out(family, [1.0] * 5)[0])
        env = family.make_env()
        env.reset(seed=0, options={"task": {"a": 0.5}})
        np.testing.assert_array_equal(env.step(np.ones(1, np.float32))[0], results[-1][1, 0, 0])
        env.close()
    for result in results:
        np.testing.assert_array_equal(result, results[0])


# --- divergence


@pytest.mark.parametrize("value", [1e30, 1e8, np.inf, np.nan])
def test_a_diverged_simulation_is_named(value: float) -> None:
    simulator = FAMILY.make_simulator(2)
    simulator.reset(np.array([[1.0], [1.5]]), np.arange(6).reshape(2, 3))
    simulator.step(np.zeros((2, 3, 6)))
    simulator.batch.qvel[4, 2] = value
    sentence = r"the simulation diverged in episode 1 of task 1 \(target_velocity=1.5\) after 0.\d+ s"
    with pytest.raises(NumericalFault, match=sentence):
        simulator.step(np.zeros((2, 3, 6)))
    # Nothing of it is left in the episodes to come.
    arguments = np.array([[1.0]]), np.array([[0, 1, 2, 3, 4, 5]])
    simulator.reset(*arguments)
    after = simulator.step(np.zeros((1, 6, 6))).observations
    simulator.close()
    fresh = FAMILY.make_simulator(1)
    fresh.reset(*arguments)
    np.testing.assert_array_equal(after, fresh.step(np.zeros((1, 6, 6))).observations)
    fresh.close()


@pytest.mark.parametrize("coordinate", [2, 11, 15])
def test_no_divergence_goes_unnoticed(coordinate: int) -> None:
    """MuJoCo counts the states that it found bad. Whatever it counted, in whichever physics step, is told."""
    simulator = FAMILY.make_simulator(1)
    warnings = mujoco.mjtWarning
    bad = [int(kind) for kind in (warnings.mjWARN_BADQPOS, warnings.mjWARN_BADQVEL, warnings.mjWARN_BADQACC)]
    unnoticed, noticed = [], 0
    for value in 10 ** np.linspace(2, 11, 120):
        simulator.reset(np.array([[1.0]]), np.array([[0]]))
        state = simulator.batch.qpos if coordinate < 9 else simulator.batch.qvel
        state[0, coordinate % 9] = value
        told = False
        try:
            simulator.step(np.zeros((1, 1, 6)))
        except NumericalFault:
            told = True
        if simulator.batch.warning[0, bad, 1].any():
            noticed += 1
            unnoticed += [] if told else [value]
    simulator.close()
    assert unnoticed == []
    assert noticed > 0


def test_an_acceleration_that_mujoco_finds_bad_is_told_though_the_state_is_small() -> None:
    text = SLIDER.replace('timestep="0.01"', 'timestep="1e-6"').replace('gear="4"', 'gear="1e11"')
    simulator = robot_family("fast", Robot(text, 1, observe), (TARGET,), lambda step: step.seconds).make_simulator(1)
    simulator.reset(np.zeros((1, 1)), np.array([[0]]))
    with pytest.raises(
        NumericalFault, match=r"the simulation diverged in episode 0 of task 0 \(target=0\) after 1e-06 s"
    ):
        simulator.step(np.ones((1, 1, 1)))
    assert np.abs(simulator.batch.qvel).max() < 1e6
    simulator.close()


def test_what_mujoco_itself_stops_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also beside episodes whose actions are repeated, which MuJoCo steps in another call."""
    family = slider((TaskField("repeat", 1, 3, choices=(1, 2, 3)),), action_repeat="repeat")
    simulator = family.make_simulator(1)
    simulator.reset(np.array([[2.0], [1.0]]), np.array([[0, 1], [0, 1]]))

    def step(*_, **__):
        raise mujoco.batch.SimulationError(np.array([3]), "out of memory")

    monkeypatch.setattr(simulator.batch, "step", step)
    monkeypatch.setattr(simulator.batch, "error", lambda index: "out of memory")
    with pytest.raises(NumericalFault, match=r"MuJoCo stopped \(out of memory\) in episode 1 of task 1 \(repeat=1\)"):
        simulator.step(np.zeros((2, 2, 1)))


def test_actions_that_are_not_numbers_are_not_taken_for_zeros() -> None:
    simulator = FAMILY.make_simulator(1)
    simulator.reset(np.array([[1.0], [0.5]]), np.arange(4).reshape(2, 2))
    actions = np.zeros((2, 2, 6))
    actions[0, 1] = np.inf  # clipped like any other
    actions[1, 0, 3] = np.nan
    with pytest.raises(NumericalFault, match=r"the actions are not finite in episode 0 of task 1 \(target_vel"):
        simulator.step(actions)
    simulator.close()


SCRIPT = """
import sys
import numpy as np
from metarl.envs.registry import FAMILIES, get_family
families = {name: get_family(name) for name in FAMILIES}
assert "mujoco" not in sys.modules, "imported too early"
simulator = families["half-cheetah-velocity"].make_simulator(1)
simulator.reset(np.ones((1, 1)), np.zeros((1, 1), np.int64))
assert "PIL" not in sys.modules, "needed for drawing alone"
simulator.batch.qpos[:] = 1e30
try:
    simulator.step(np.zeros((1, 1, 6)))
except FloatingPointError:
    print("diverged")
simulator.close()
"""


def test_mujoco_is_imported_late_and_leaves_no_files(tmp_path: Path) -> None:
    root = Path(metarl.__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "diverged\n"), done.stderr
    assert "settotalmass" not in done.stderr and list(tmp_path.iterdir()) == []
