"""The task families by name. MuJoCo is imported when a robot is simulated, not before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from inspect import signature
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from metarl.core.errors import Refusal
from metarl.core.user_code import imported, user_code
from metarl.envs.family import TaskFamily, TaskField
from metarl.envs.from_gymnasium.registered import PREFIX, registered
from metarl.envs.metaworld import benchmarks
from metarl.envs.mujoco import ant, half_cheetah, hopper, humanoid, poles, swimmer, walker2d
from metarl.envs.navigation import ARENA, MAX_SPEED, NavigationSimulator, sample_goals
from metarl.envs.observe_task import observe_task as with_task_observed
from metarl.envs.observe_task import telling
from metarl.envs.task_env import TaskEnv
from metarl.envs.vector_env import TaskVectorEnv


def navigation() -> TaskFamily:
    """Move a point in the plane to a goal (Finn et al. 2017, Sec. 5.3; p-Meta, Sec. 4.3)."""
    return TaskFamily(
        name="navigation-2d",
        fields=(TaskField("goal_x", -ARENA, ARENA), TaskField("goal_y", -ARENA, ARENA)),
        observation_space=Box(-np.inf, np.inf, (2,), np.float64),
        action_space=Box(-MAX_SPEED, MAX_SPEED, (2,), np.float32),
        horizon=100,
        make_simulator=lambda threads: NavigationSimulator(),
        make_env=partial(gymnasium.make, "metarl/Navigation2D-v0"),
        sample_tasks=sample_goals,
    )


# Robots import no MuJoCo until they are simulated.
FAMILIES: dict[str, Callable[[], TaskFamily]] = {
    "navigation-2d": navigation,
    "half-cheetah-velocity": half_cheetah.velocity,
    "half-cheetah-direction": half_cheetah.direction,
    "half-cheetah-dynamics": half_cheetah.changed_dynamics,
    "half-cheetah-disabled-joint": half_cheetah.disabled_joint,
    "ant-velocity": ant.velocity,
    "ant-direction": ant.direction,
    "ant-goal": ant.goal,
    "ant-disabled-leg": ant.disabled_leg,
    "walker2d-velocity": walker2d.velocity,
    "walker2d-dynamics": walker2d.changed_dynamics,
    "hopper-velocity": hopper.velocity,
    "hopper-dynamics": hopper.changed_dynamics,
    "humanoid-direction": humanoid.direction,
    "swimmer-velocity": swimmer.velocity,
    "pendulum-gravity": poles.pendulum_gravity,
    "cartpole-dynamics": poles.cartpole_dynamics,
}


def get_family(name: str) -> TaskFamily:
    """Return the family of that name, ``gym:ID,FIELD=LOW:HIGH``, ``metaworld:NAME``, or your own ``module:attribute``.

    The attribute is a TaskFamily or a function without arguments that makes one. Raise ValueError if there is no such
    family, and UserCodeError if the module or the function fails.
    """
    if name in FAMILIES:
        return FAMILIES[name]()
    if name.startswith(PREFIX):
        return registered(name)
    if name.startswith(benchmarks.PREFIX):
        return benchmarks.metaworld_family(name)
    module, _, attribute = name.partition(":")
    if not attribute or not all(part.isidentifier() for part in module.split(".")):
        raise Refusal(
            f"unknown task family '{name}': choose one of {', '.join(FAMILIES)}, an environment of "
            f"Gymnasium as {PREFIX}ID, or your own as module:attribute"
        )
    found = _attribute(name, module, attribute)
    if callable(found) and _takes_nothing(found):
        with user_code(f"the task family {name}"):
            found = found()
    if not isinstance(found, TaskFamily):
        raise Refusal(f"task family '{name}' is neither a TaskFamily nor a function that makes one")
    return replace(found, name=name)


def _attribute(name: str, module: str, attribute: str) -> Any:
    """Return the attribute of a module of the user's; the sentence of a Refusal tells which file was imported."""
    holder = imported(f"task family '{name}'", module)
    if not hasattr(holder, attribute):
        file = getattr(holder, "__file__", None) or "a part of Python"
        raise Refusal(f"task family '{name}' cannot be imported: {module} ({file}) has no attribute '{attribute}'")
    return getattr(holder, attribute)


def _takes_nothing(function: Callable[..., Any]) -> bool:
    try:
        signature(function).bind()
    except (TypeError, ValueError):  # the latter where a builtin has no signature
        return False
    return True


def make_env(
    family: str,
    render_mode: str | None = None,
    task: Mapping[str, float] | None = None,
    observe_task: bool = False,
) -> gymnasium.Env[Any, Any]:
    """Return the environment of a family: the entry point that Gymnasium calls for metarl's ids.

    Args:
        family: The family's name.
        render_mode: ``rgb_array`` or None.
        task: The named values of the task of every episode that is not given one; drawn for each episode if left out.
        observe_task: Whether observations end with the standardized task.

    Returns:
        The environment. Refusal names a task field that is missing, unknown or out of range.
    """
    resolved = get_family(family)
    env = TaskEnv(resolved, render_mode, task)
    return telling(env, resolved) if observe_task else env


def make_vector_env(
    family: str,
    num_envs: int,
    max_episode_steps: int | None = None,
    task: Mapping[str, float] | None = None,
    observe_task: bool = False,
    threads: int | None = None,
) -> TaskVectorEnv:
    """Return environments of a family in the batched simulator: what ``gymnasium.make_vec`` calls for metarl's ids.

    Args:
        family: The family's name.
        num_envs: The number of environments.
        max_episode_steps: Steps after which an episode is cut off; the family's horizon if left out.
        task: The named values of the task of every episode; drawn for each episode if left out.
        observe_task: Whether observations end with the standardized task.
        threads: Threads of the simulator; all cores if left out.

    Returns:
        The environments. Refusal names a task field that is missing, unknown or out of range.
    """
    resolved = get_family(family)
    if observe_task:
        resolved = with_task_observed(resolved)
    return TaskVectorEnv(resolved, num_envs, max_episode_steps, task, threads)
