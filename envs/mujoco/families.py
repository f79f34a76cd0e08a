"""Task families of robots, made of a robot, a reward and task fields."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box

from metarl.envs.family import Array, SampleTasks, Simulator, TaskFamily, TaskField, sample_fields
from metarl.envs.mujoco.robot import Robot, RobotTasks, Step, Vary


def robot_family(
    name: str,
    robot: Robot,
    fields: tuple[TaskField, ...],
    reward: Callable[[Step], Array],
    *,
    vary: Vary | None = None,
    sample_tasks: SampleTasks | None = None,
    horizon: int = 200,
    observation_noise: float | str = 0.0,
    action_delay: int | str = 0,
    action_repeat: int | str = 1,
) -> TaskFamily:
    """Make the task family of a robot.

    Args:
        name: The family's name.
        robot: The robot.
        fields: What tells its tasks apart.
        reward: Maps a control step to rewards [n].
        vary: Edits the model for a task, see ``RobotTasks``.
        sample_tasks: Draws tasks [count, field]; by default each field is uniform in its range or its choices.
        horizon: Control steps in an episode.
        observation_noise: Standard deviation of the noise on observations, or the task field that holds it.
        action_delay: Control steps by which actions arrive late, or the task field that holds them.
        action_repeat: Factor on the frame skip, or the task field that holds it.

    Returns:
        The family; its simulator and its environment share the functions given here.
    """
    tasks = RobotTasks(name, robot, fields, reward, vary, observation_noise, action_delay, action_repeat)

    def make_simulator(threads: int) -> Simulator:
        from metarl.envs.mujoco.simulator import RobotSimulator

        return RobotSimulator(tasks, threads)

    def make_env(**kwargs: Any) -> gymnasium.Env[Any, Any]:
        entry = "metarl.envs.task_env:TaskEnv"
        spec = EnvSpec("metarl/Robot-v0", entry, max_episode_steps=horizon, kwargs={"family": family})
        return gymnasium.make(spec, **kwargs)

    observation_space, action_space = robot.spaces or _read_spaces(tasks)
    family = TaskFamily(
        name=name,
        fields=fields,
        observation_space=observation_space,
        action_space=action_space,
        horizon=horizon,
        make_simulator=make_simulator,
        make_env=make_env,
        sample_tasks=sample_tasks or partial(sample_fields, fields),
    )
    return family


def _read_spaces(tasks: RobotTasks) -> tuple[Box, Box]:
    from metarl.envs.mujoco.simulator import read_spaces

    return read_spaces(tasks)


def spaces(observation_size: int, action_size: int, action_limit: float = 1.0) -> tuple[Box, Box]:
    """Return unbounded observations and actions in [-action_limit, action_limit]."""
    return (
        Box(-np.inf, np.inf, (observation_size,), np.float64),
        Box(-action_limit, action_limit, (action_size,), np.float32),
    )


def gymnasium_model(file: str) -> Path:
    """Return the path of an MJCF file that Gymnasium ships, e.g. ``ant.xml``."""
    return Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets" / file
