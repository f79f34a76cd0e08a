"""Task fields that change a robot's body: factors on groups of its model's values.

Rothfuss et al. 2019 and Rakelly et al. 2019 meta-train on walkers and hoppers whose masses, inertias, damping and
friction are multiplied by 1.5^u (damping: 1.3^u), u uniform in [-3, 3] for each value. Here a group of values shares
one factor, so that a task is a few numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from metarl.envs.family import Array, SampleTasks, TaskFamily, TaskField
from metarl.envs.mujoco.families import robot_family
from metarl.envs.mujoco.robot import Robot, Step

if TYPE_CHECKING:
    import mujoco

EXPONENT = 3.0
BASES = {"damping": 1.3}
BASE = 1.5  # of every other factor


def scale_mass(model: mujoco.MjModel, factor: float) -> None:
    """Scale all masses and moments of inertia."""
    model.body_mass *= factor
    model.body_inertia *= factor


def scale_damping(model: mujoco.MjModel, factor: float) -> None:
    """Scale the damping of all joints."""
    model.dof_damping *= factor


def scale_armature(model: mujoco.MjModel, factor: float) -> None:
    """Scale the rotor inertia of all joints."""
    model.dof_armature *= factor


def scale_friction(model: mujoco.MjModel, factor: float) -> None:
    """Scale the friction of all surfaces."""
    model.geom_friction *= factor


def scale_gear(model: mujoco.MjModel, factor: float) -> None:
    """Scale the strength of all motors."""
    model.actuator_gear *= factor


def scale_gravity(model: mujoco.MjModel, factor: float) -> None:
    """Scale gravity."""
    model.opt.gravity *= factor


CHANGES: dict[str, Callable[[mujoco.MjModel, float], None]] = {
    "mass": scale_mass,
    "damping": scale_damping,
    "armature": scale_armature,
    "friction": scale_friction,
    "gear": scale_gear,
    "gravity": scale_gravity,
}


def factors(*names: str) -> tuple[TaskField, ...]:
    """Return a field per group of values, named as in ``CHANGES``; its value is the factor on the group."""
    return tuple(
        TaskField(name, BASES.get(name, BASE) ** -EXPONENT, BASES.get(name, BASE) ** EXPONENT) for name in names
    )


def sample_factors(fields: tuple[TaskField, ...]) -> SampleTasks:
    """Draw each field's logarithm uniformly from its range."""
    low, high = np.log([field.low for field in fields]), np.log([field.high for field in fields])

    def sample_tasks(count: int, generator: np.random.Generator) -> Array:
        drawn: Array = np.exp(generator.uniform(low, high, (count, len(fields))))
        return drawn

    return sample_tasks


def vary(model: mujoco.MjModel, task: Mapping[str, float]) -> mujoco.MjModel:
    """Apply every factor of a task whose fields are named as in ``CHANGES``."""
    for name, factor in task.items():
        CHANGES[name](model, factor)
    return model


def dynamics_family(name: str, robot: Robot, groups: tuple[str, ...], reward: Callable[[Step], Array]) -> TaskFamily:
    """Make the family of a robot whose tasks are factors on ``groups`` of its model's values, see ``CHANGES``."""
    fields = factors(*groups)
    return robot_family(name, robot, fields, reward, vary=vary, sample_tasks=sample_factors(fields))


def scale_link(model: mujoco.MjModel, body: str, factor: float) -> None:
    """Scale the length of a body's link: its geoms, and where its joints and child bodies are attached.

    Capsules and cylinders grow along their axis, boxes and ellipsoids in all directions, spheres do not. The mass
    stays, and the moments of inertia scale as those of point masses that move apart.
    """
    import mujoco  # here, because listing families must not load it

    kinds = mujoco.mjtGeom
    grows = {int(kinds.mjGEOM_CAPSULE): [1], int(kinds.mjGEOM_CYLINDER): [1]}
    grows |= {int(kinds.mjGEOM_BOX): [0, 1, 2], int(kinds.mjGEOM_ELLIPSOID): [0, 1, 2]}
    index, larger = model.body(body).id, max(1.0, factor)
    for geom in np.flatnonzero(model.geom_bodyid == index):
        model.geom_size[geom, grows.get(int(model.geom_type[geom]), [])] *= factor
        model.geom_pos[geom] *= factor
        # Bounds for the search of contacts: too large a bound costs time, not contacts.
        model.geom_rbound[geom] *= larger
        model.geom_aabb[geom] *= larger
    model.body_pos[model.body_parentid == index] *= factor
    model.jnt_pos[model.jnt_bodyid == index] *= factor
    model.site_pos[model.site_bodyid == index] *= factor
    model.body_ipos[index] *= factor
    model.body_inertia[index] *= factor**2
    bounds = model.bvh_aabb[model.body_bvhadr[index] :][: model.body_bvhnum[index]]
    bounds[:, :3] *= factor
    bounds[:, 3:] *= larger
