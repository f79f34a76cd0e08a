"""Models of robots: loading them, changing them for a task, and the checks of both."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from pathlib import Path

import mujoco
import numpy as np
from gymnasium.spaces import Box

from metarl.core.errors import Refusal
from metarl.core.user_code import UserCodeError, user_code
from metarl.envs.family import TaskField
from metarl.envs.mujoco.robot import RobotTasks, Source

# Fields that a changed model may not have below zero, and those that must stay above it.
AT_LEAST_ZERO = ("dof_damping", "dof_armature", "dof_frictionloss", "geom_friction")
ABOVE_ZERO = ("body_mass", "body_inertia")


def load_model(source: Source, owner: str) -> mujoco.MjModel:
    """Compile a model for ``owner``, the family named in errors.

    A simulation that diverges stays as it is: without this, MuJoCo resets it and only logs a warning. Raise Refusal if
    the model does not compile, has no actuator, or has one without bounds.
    """
    if mujoco.get_mju_user_warning() is None:
        # MuJoCo's own handler writes a file MUJOCO_LOG.TXT into the current folder.
        mujoco.set_mju_user_warning(logging.getLogger("mujoco").info)
    try:
        model = _compile(source)
    except (ValueError, OSError, mujoco.FatalError) as error:
        reason = " ".join(str(error).split())
        raise Refusal(f"the model of {owner} must be an MJCF file, an MJCF text or an MjSpec: {reason}") from None
    if model.nu == 0:
        raise Refusal(f"the model of {owner} has no actuator: a policy needs at least one")
    for actuator in range(model.nu):
        if not model.actuator_ctrllimited[actuator]:
            name = model.actuator(actuator).name or actuator
            raise Refusal(f"actuator '{name}' of {owner} needs a ctrlrange: a policy's actions are clipped to it")
    keep_divergence(model)
    return model


def _compile(source: Source) -> mujoco.MjModel:
    if isinstance(source, mujoco.MjSpec):
        return source.copy().compile()
    if isinstance(source, str) and source.lstrip().startswith("<"):
        return mujoco.MjModel.from_xml_string(source)
    if not Path(source).is_file():
        raise FileNotFoundError(f"there is no file {source}")
    return mujoco.MjModel.from_xml_path(str(source))


def keep_divergence(model: mujoco.MjModel) -> None:
    """Let a diverged simulation stay visible instead of being reset by MuJoCo."""
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET


def action_space(model: mujoco.MjModel) -> Box:
    """Return the box of the actuators' control ranges."""
    low, high = model.actuator_ctrlrange.T.astype(np.float32)
    return Box(low, high, dtype=np.float32)


def model_for(tasks: RobotTasks, base: mujoco.MjModel, task: Mapping[str, float]) -> mujoco.MjModel:
    """Return the model of one task, with all constants that follow from its values recomputed.

    Raise UserCodeError if the change fails, e.g. at a name that the model lacks, and Refusal if it makes values that no
    robot can have.
    """
    if tasks.vary is None:
        return base
    meant = f"{tasks.name} ({describe(task)})"
    with user_code(f"vary of {meant}"):
        model = tasks.vary(copy.copy(base), task)
    if not isinstance(model, mujoco.MjModel):
        raise UserCodeError(f"vary of {meant} must return the model, got {model!r}")
    _check_values(model, base, meant)
    keep_divergence(model)
    mujoco.mj_setConst(model, mujoco.MjData(model))
    return model


def _check_values(model: mujoco.MjModel, base: mujoco.MjModel, meant: str) -> None:
    for name in (*AT_LEAST_ZERO, *ABOVE_ZERO):
        values, before = getattr(model, name), getattr(base, name)
        if values.shape != before.shape:
            raise Refusal(f"the model of {meant} has another shape of {name}: tasks may change values, not sizes")
        bad = ~((values > 0) | ((values == 0) & (before == 0))) if name in ABOVE_ZERO else ~(values >= 0)
        if bad.any():
            row = int(np.argwhere(bad)[0][0])
            allowed = "above 0" if name in ABOVE_ZERO else "at least 0"
            value = values[bad].flat[0]
            raise Refusal(f"the model of {meant} has {name} {value:g} in row {row}: it must be {allowed}")


def check_ranges(tasks: RobotTasks, base: mujoco.MjModel) -> None:
    """Make the models at both ends of each field's range, the other fields at their middle.

    Raise Refusal if one of them is no robot.
    """
    for field in tasks.fields:
        for end in field.choices or (field.low, field.high):
            model_for(tasks, base, middle_task(tasks.fields) | {field.name: end})


def middle_task(fields: tuple[TaskField, ...]) -> dict[str, float]:
    """Return the task in the middle of all ranges, with the first of a field's choices."""
    return {field.name: (field.choices or ((field.low + field.high) / 2,))[0] for field in fields}


def describe(task: Mapping[str, float]) -> str:
    """Write a task as one types it, e.g. ``target_velocity=1.5``."""
    return " ".join(f"{name}={value:g}" for name, value in task.items())
