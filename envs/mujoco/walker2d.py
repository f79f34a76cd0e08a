"""Walker2d families: two planar legs with six motors whose episode ends when the torso falls."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from metarl.envs.family import TaskFamily, TaskField
from metarl.envs.mujoco import dynamics, rewards
from metarl.envs.mujoco.families import gymnasium_model, robot_family, spaces
from metarl.envs.mujoco.hopper import observe
from metarl.envs.mujoco.robot import Fields, Robot, uniform_start

CONTROL_COST, HEALTHY = 1e-3, 1.0  # as in Walker2d-v5
FASTEST = 2.0  # target velocity in m/s


def healthy(fields: Fields) -> NDArray[np.bool_]:
    """Return whether the torso is at a height in (0.8, 2) m and leans by less than 1 rad [n]."""
    height, angle = fields["qpos"][:, 1], fields["qpos"][:, 2]
    good: NDArray[np.bool_] = (height > 0.8) & (height < 2.0) & (np.abs(angle) < 1.0)
    return good


WALKER2D = Robot(
    model=gymnasium_model("walker2d_v5.xml"),
    frame_skip=4,
    observe=observe,
    start=uniform_start(5e-3),
    healthy=healthy,
    spaces=spaces(17, 6),
)


def velocity() -> TaskFamily:
    """Walk at a given velocity (Rothfuss et al. 2019, with targets up to 10 m/s)."""
    field = TaskField("target_velocity", 0.0, FASTEST, "m/s")
    reward = rewards.target_velocity(CONTROL_COST, bonus=HEALTHY + FASTEST)
    return robot_family("walker2d-velocity", WALKER2D, (field,), reward)


def changed_dynamics() -> TaskFamily:
    """Walk with other masses, damping and friction (Rothfuss et al. 2019; Rakelly et al. 2019)."""
    groups = ("mass", "damping", "friction")
    return dynamics.dynamics_family("walker2d-dynamics", WALKER2D, groups, rewards.forward(CONTROL_COST, HEALTHY))
