"""Pendulum and cart-pole families for quick runs: a few numbers, one motor, little physics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from metarl.envs.family import Array, TaskFamily, TaskField
from metarl.envs.mujoco.dynamics import scale_gear, scale_link
from metarl.envs.mujoco.families import gymnasium_model, robot_family, spaces
from metarl.envs.mujoco.robot import Fields, Robot, Step, uniform_start

if TYPE_CHECKING:
    import mujoco

# Gymnasium's Pendulum-v1: a rod of 1 m and 1 kg that stands upright at the angle 0.
PENDULUM_MODEL = """
<mujoco model="pendulum">
  <compiler autolimits="true"/>
  <option timestep="0.05" gravity="0 0 -10" integrator="Euler">
    <flag contact="disable"/>
  </option>
  <worldbody>
    <body name="rod" pos="0 0 1.2">
      <joint name="hinge" type="hinge" axis="0 1 0"/>
      <inertial pos="0 0 0.5" mass="1" diaginertia="0.08333333333333333 0.08333333333333333 0.001"/>
      <geom name="rod" type="capsule" fromto="0 0 0 0 0 1" size="0.05"/>
    </body>
  </worldbody>
  <actuator>
    <motor name="torque" joint="hinge" ctrlrange="-2 2"/>
  </actuator>
</mujoco>
"""


def observe_angle(fields: Fields) -> Array:
    """Return [n, 3]: cosine and sine of the angle, and the angular velocity in rad/s."""
    angle, velocity = fields["qpos"][:, 0], fields["qvel"][:, 0]
    return np.stack([np.cos(angle), np.sin(angle), velocity], axis=1)


def start_anywhere(model: mujoco.MjModel, generator: np.random.Generator) -> tuple[Array, Array]:
    """Start at any angle, with up to 1 rad/s."""
    return generator.uniform(-np.pi, np.pi, 1), generator.uniform(-1.0, 1.0, 1)


PENDULUM = Robot(PENDULUM_MODEL, 1, observe_angle, start_anywhere, spaces=spaces(3, 1, 2.0))


def pendulum_gravity() -> TaskFamily:
    """Swing a pendulum up under another gravity.

    All else is Gymnasium's Pendulum-v1, but for its limit of 8 rad/s.
    """
    field = TaskField("gravity", 5.0, 15.0, "m/s^2")
    return robot_family("pendulum-gravity", PENDULUM, (field,), upright_reward, vary=set_gravity)


def set_gravity(model: mujoco.MjModel, task: Mapping[str, float]) -> mujoco.MjModel:
    """Set the gravity along -z."""
    model.opt.gravity[2] = -task["gravity"]
    return model


def upright_reward(step: Step) -> Array:
    """Return minus the squares of angle, angular velocity and torque before the step, weighted 1, 0.1 and 0.001 [n]."""
    angle, velocity = step.before["qpos"][:, 0], step.before["qvel"][:, 0]
    from_upright = (angle + np.pi) % (2 * np.pi) - np.pi
    return -(from_upright**2 + 0.1 * velocity**2) - step.control_cost(0.001)


def observe_cart(fields: Fields) -> Array:
    """Return [n, 4]: the cart's place, the pole's angle, and their velocities."""
    return np.concatenate([fields["qpos"], fields["qvel"]], axis=1)


def balanced(fields: Fields) -> NDArray[np.bool_]:
    """Return whether the pole leans by at most 0.2 rad [n]."""
    good: NDArray[np.bool_] = np.abs(fields["qpos"][:, 1]) <= 0.2
    return good


CARTPOLE = Robot(
    model=gymnasium_model("inverted_pendulum.xml"),
    frame_skip=2,
    observe=observe_cart,
    start=uniform_start(0.01),
    healthy=balanced,
    spaces=spaces(4, 1, 3.0),
)


def cartpole_dynamics() -> TaskFamily:
    """Balance a pole of another length on a cart with another motor.

    All else is Gymnasium's InvertedPendulum-v5; the fields are factors.
    """
    fields = (TaskField("length", 0.5, 2.0), TaskField("gear", 0.5, 2.0))
    return robot_family("cartpole-dynamics", CARTPOLE, fields, balance_reward, vary=change_cartpole)


def change_cartpole(model: mujoco.MjModel, task: Mapping[str, float]) -> mujoco.MjModel:
    """Scale the pole's length and the motor's strength."""
    scale_link(model, "pole", task["length"])
    scale_gear(model, task["gear"])
    return model


def balance_reward(step: Step) -> Array:
    """Return 1 while the pole is balanced [n]."""
    return step.healthy.astype(np.float64)
