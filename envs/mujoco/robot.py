"""A robot and what it is to learn, stated as functions of arrays: all that a batched task family is made of.

Nothing here imports MuJoCo, so families can be listed without loading it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from metarl.core.errors import Refusal
from metarl.envs.family import Array, TaskField

if TYPE_CHECKING:
    import mujoco

Fields: TypeAlias = Mapping[str, Array]  # fields of MjData by name, [n, ...] for n episodes
Source: TypeAlias = "str | Path | mujoco.MjSpec"
Start: TypeAlias = "Callable[[mujoco.MjModel, np.random.Generator], tuple[Array, Array]]"
Vary: TypeAlias = "Callable[[mujoco.MjModel, Mapping[str, float]], mujoco.MjModel]"


class Step(NamedTuple):
    """One control step of n episodes: what a reward is computed from."""

    before: Fields
    after: Fields
    actions: Array  # [n, action], as applied: clipped and delayed
    tasks: Mapping[str, Array]  # the task fields by name, [n]
    seconds: Array  # the duration of the step, [n]
    healthy: NDArray[np.bool_]  # whether the episode goes on, [n]

    def rate(self, field: str, *index: int) -> Array:
        """Return the rate of change per second [n] of one number of a field, e.g. of a root's x position."""
        at: Any = (slice(None), *index)
        rate: Array = (self.after[field][at] - self.before[field][at]) / self.seconds
        return rate

    def control_cost(self, weight: float) -> Array:
        """Return ``weight`` |a|^2 [n]."""
        squares: Array = np.einsum("na,na->n", self.actions, self.actions)
        return weight * squares


def uniform_start(scale: float) -> Start:
    """Start at the model's reference pose, positions and velocities off by uniform noise in [-scale, scale]."""

    def start(model: mujoco.MjModel, generator: np.random.Generator) -> tuple[Array, Array]:
        return (
            model.qpos0 + generator.uniform(-scale, scale, model.nq),
            generator.uniform(-scale, scale, model.nv),
        )

    return start


def normal_start(scale: float) -> Start:
    """Start as ``uniform_start`` does, but with normal noise of standard deviation ``scale`` on the velocities."""

    def start(model: mujoco.MjModel, generator: np.random.Generator) -> tuple[Array, Array]:
        return (
            model.qpos0 + generator.uniform(-scale, scale, model.nq),
            scale * generator.standard_normal(model.nv),
        )

    return start


NEAR_REST = uniform_start(0.01)


@dataclass(frozen=True)
class Robot:
    """A body and what a policy sees of it.

    Attributes:
        model: An MJCF file, an MJCF text or an ``MjSpec``.
        frame_skip: Physics steps per control step.
        observe: Maps fields to observations [n, observation].
        start: Draws the positions [nq] and velocities [nv] that an episode starts from.
        reads: Names of the MjData fields that ``observe``, ``healthy`` and rewards read. As after ``mj_step``, fields
            other than the state are those of the last physics step's beginning.
        healthy: Maps fields to whether an episode goes on [n]; without it, none ends before the horizon.
        spaces: Observation and action space. Read off the model if left out, which loads MuJoCo.
    """

    model: Source
    frame_skip: int
    observe: Callable[[Fields], Array]
    start: Start = NEAR_REST
    reads: tuple[str, ...] = ("qpos", "qvel")
    healthy: Callable[[Fields], NDArray[np.bool_]] | None = None
    spaces: tuple[Box, Box] | None = None

    def __post_init__(self) -> None:
        if self.frame_skip < 1:
            raise Refusal(f"the frame skip of a robot must be at least 1, got {self.frame_skip}")


@dataclass(frozen=True)
class RobotTasks:
    """What a robot is to learn: a reward, and task fields that it, the model or the robot's interface depend on.

    ``vary(model, task)`` edits a copy of the robot's model for one task and returns it (or returns another model of
    the same sizes). ``observation_noise`` is the standard deviation of Gaussian noise on every observed number,
    ``action_delay`` the control steps by which actions arrive late (zeros come first), ``action_repeat`` the factor on
    the frame skip; both are rounded. Each of the three is a number or the name of the task field that holds it.
    """

    name: str
    robot: Robot
    fields: tuple[TaskField, ...]
    reward: Callable[[Step], Array]
    vary: Vary | None = None
    observation_noise: float | str = 0.0
    action_delay: int | str = 0
    action_repeat: int | str = 1

    def __post_init__(self) -> None:
        names = [field.name for field in self.fields]
        for option in ("observation_noise", "action_delay", "action_repeat"):
            value = getattr(self, option)
            if isinstance(value, str) and value not in names:
                raise Refusal(f"{option} of {self.name} must be a number or one of its task fields, got '{value}'")
            low = self.range_of(option)[0]
            least = 1 if option == "action_repeat" else 0
            if low < least:
                raise Refusal(f"{option} of {self.name} must be at least {least}, got {low:g}")

    def range_of(self, option: str) -> tuple[float, float]:
        """Return the smallest and largest value of an option of the robot's interface."""
        value = getattr(self, option)
        if not isinstance(value, str):
            return value, value
        field = next(field for field in self.fields if field.name == value)
        return field.low, field.high
