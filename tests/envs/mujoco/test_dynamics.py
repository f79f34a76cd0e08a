"""Factors on a model's values, and links of another length, against models that were compiled that way."""

import mujoco
import numpy as np
import pytest

from metarl.envs.mujoco import dynamics
from metarl.envs.registry import get_family

ARM = """
<mujoco>
  <worldbody>
    <geom name="floor" type="plane" size="5 5 1"/>
    <body name="upper" pos="0 0 0.45">
      <inertial pos="{com} 0 0" mass="2" diaginertia="{i1} {i2} {i2}"/>
      <joint name="shoulder" type="hinge" axis="0 1 0" damping="1"/>
      <geom type="capsule" fromto="{start} 0 0 {end} 0 0" size="0.05"/>
      <geom type="sphere" pos="{end} 0 0" size="0.08"/>
      <site name="tip" pos="{end} {side} 0"/>
      <body name="lower" pos="{end} 0 0">
        <joint name="elbow" type="hinge" axis="0 1 0" pos="0 0 0" damping="1"/>
        <geom type="capsule" fromto="0 0 0 0.6 0 0" size="0.04" density="800"/>
      </body>
    </body>
  </worldbody>
  <actuator><motor joint="elbow" ctrlrange="-1 1"/></actuator>
</mujoco>
"""


def arm(length: float) -> mujoco.MjModel:
    """Compile the arm with an upper link of a length, its mass kept."""
    inertia = length**2
    text = ARM.format(
        start=0.1 * length, end=0.5 * length, com=0.3 * length, side=0.1 * length, i1=0.01 * inertia, i2=0.05 * inertia
    )
    return mujoco.MjModel.from_xml_string(text)


@pytest.mark.parametrize("factor", [0.6, 1.0, 1.7])
def test_a_scaled_link_is_that_of_a_model_compiled_so(factor: float) -> None:
    scaled, compiled = arm(1.0), arm(factor)
    dynamics.scale_link(scaled, "upper", factor)
    mujoco.mj_setConst(scaled, mujoco.MjData(scaled))
    ours, theirs = mujoco.MjData(scaled), mujoco.MjData(compiled)
    touched = 0
    for _ in range(500):
        mujoco.mj_step(scaled, ours)
        mujoco.mj_step(compiled, theirs)
        touched += theirs.ncon > 0
    assert touched > 0, "contacts must be compared as well"
    for name in ("qpos", "qvel", "site_xpos", "geom_xpos", "xipos"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), atol=1e-6)


@pytest.mark.parametrize("factor", [0.6, 1.7])
def test_bounds_contain_the_scaled_geoms(factor: float) -> None:
    scaled, compiled = arm(1.0), arm(factor)
    dynamics.scale_link(scaled, "upper", factor)
    assert (scaled.geom_rbound >= compiled.geom_rbound - 1e-9).all()
    for bounds in ("geom_aabb", "bvh_aabb"):
        ours, theirs = getattr(scaled, bounds), getattr(compiled, bounds)
        assert (ours[:, :3] - ours[:, 3:] <= theirs[:, :3] - theirs[:, 3:] + 1e-9).all()
        assert (ours[:, :3] + ours[:, 3:] >= theirs[:, :3] + theirs[:, 3:] - 1e-9).all()


def test_factors_change_what_they_name() -> None:
    base, model = arm(1.0), arm(1.0)
    base.dof_armature[:] = model.dof_armature[:] = 0.5
    dynamics.vary(model, {name: 2.0 + index for index, name in enumerate(dynamics.CHANGES)})
    for factor, names in enumerate(
        [("body_mass", "body_inertia"), ("dof_damping",), ("dof_armature",), ("geom_friction",), ("actuator_gear",)], 2
    ):
        for name in names:
            assert np.abs(getattr(base, name)).sum() > 0
            np.testing.assert_allclose(getattr(model, name), factor * getattr(base, name))
    np.testing.assert_allclose(model.opt.gravity, 7 * base.opt.gravity)


def test_factors_are_drawn_log_uniformly() -> None:
    fields = dynamics.factors("mass", "damping")
    np.testing.assert_allclose([fields[0].high, fields[1].high], [1.5**3, 1.3**3])
    drawn = np.log(dynamics.sample_factors(fields)(4000, np.random.default_rng(0)))
    np.testing.assert_allclose(drawn.mean(axis=0), 0.0, atol=0.05)
    np.testing.assert_allclose(drawn.std(axis=0), 3 * np.log([1.5, 1.3]) / np.sqrt(3), rtol=0.03)
    assert (np.abs(drawn) <= 3 * np.log([1.5, 1.3])).all()


def test_goals_of_the_ant_are_uniform_in_a_disc() -> None:
    goals = get_family("ant-goal").sample_tasks(4000, np.random.default_rng(0))
    radius = np.linalg.norm(goals, axis=1)
    assert radius.max() < 3
    np.testing.assert_allclose((radius < 1.5).mean(), 0.25, atol=0.03)
    np.testing.assert_allclose(goals.mean(axis=0), 0, atol=0.1)


def test_a_longer_pole_of_the_cartpole_falls_slower() -> None:
    simulator = get_family("cartpole-dynamics").make_simulator(1)
    simulator.reset(np.array([[0.5, 1.0], [1.0, 1.0], [2.0, 1.0]]), np.zeros((3, 1), np.int64))
    simulator.batch.qpos[:, 1], simulator.batch.qvel[:] = 0.05, 0
    angles = [simulator.step(np.zeros((3, 1, 1))).observations[:, 0, 1] for _ in range(3)][-1]
    simulator.close()
    assert angles[0] > angles[1] > angles[2] > 0.05
