"""Playing single episodes in a family's Gymnasium environment, with pictures of them."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Mapping
from ctypes.util import find_library
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from gymnasium import Env
from numpy.typing import NDArray

from metarl.core.errors import Refusal
from metarl.core.user_code import sentence, user_code
from metarl.envs.family import TaskFamily
from metarl.policies.controller import Controller

Frame = NDArray[np.uint8]  # [height, width, 3]

FRAMES_PER_SECOND = 20.0  # of an environment that does not say
OPENGL = ("opengl", "egl", "osmesa", "glfw", "mujoco")  # in errors of MuJoCo's renderer
BACKENDS = {"egl": "EGL", "osmesa": "OSMesa"}  # of MuJoCo without a display, and their libraries


class Moment(NamedTuple):
    """One step of an episode."""

    observation: NDArray[Any]  # before the step
    reward: float


@dataclass(frozen=True)
class Film:
    """The pictures of an episode and its rewards."""

    frames: list[Frame]
    frames_per_second: float
    rewards: list[float]  # of every step


def play(
    controller: Controller,
    env: Env[Any, Any],
    task: Mapping[str, float],
    seed: int,
    horizon: int,
    noise: np.random.Generator | None = None,
) -> Iterator[Moment]:
    """Play one episode, which ends at the horizon or where the environment ends it.

    Args:
        controller: the policy.
        env: an environment of its family.
        task: the value of each field by name.
        seed: of the episode.
        horizon: most steps.
        noise: draws the exploration noise; without it the most likely actions are taken.

    Yields:
        Each step, as soon as it is done.
    """
    observation, _ = env.reset(seed=seed, options={"task": dict(task)})
    for _ in range(horizon):
        action, _ = controller.predict(observation, deterministic=noise is None, generator=noise)
        following, reward, terminated, truncated, _ = env.step(action)
        yield Moment(observation, float(reward))
        observation = following
        if terminated or truncated:
            return


def film(
    controller: Controller,
    family: TaskFamily,
    task: Mapping[str, float],
    seed: int,
    most_frames: int | None = None,
    most_per_second: float = math.inf,
) -> Film:
    """Film an episode without exploration noise.

    Args:
        controller: the policy.
        family: its family; the episode takes up to the family's horizon.
        task: the value of each field by name.
        seed: of the episode.
        most_frames: most pictures; steps between them are left out.
        most_per_second: most pictures of a second.

    Returns:
        The film, which runs in real time. Raise Refusal if the family's environment cannot be rendered.
    """
    with user_code(f"make_env of {family.name}"):
        env = family.make_env(render_mode="rgb_array")
    frames, rewards = [], []
    frames_per_second = float(env.metadata.get("render_fps") or FRAMES_PER_SECOND)
    sparse = math.ceil(family.horizon / most_frames) if most_frames else 1
    stride = max(sparse, round(frames_per_second / most_per_second))
    try:
        for step, moment in enumerate(play(controller, env, task, seed, family.horizon)):
            rewards.append(moment.reward)
            if step % stride == 0:
                frames.append(picture(env, family.name))
    finally:
        env.close()
    return Film(frames, frames_per_second / stride, rewards)


def picture(env: Env[Any, Any], name: str) -> Frame:
    """Return a picture; raise Refusal if ``name``'s environment makes none, with what to try if it lacks OpenGL."""
    try:
        frame: Any = env.render()
    except Exception as error:  # each renderer has errors of its own
        told = sentence(f"{name} cannot be rendered here: its render", error)
        lacks_opengl = any(word in f"{type(error).__module__} {told}".lower() for word in OPENGL)
        hint = "; without a display, try MUJOCO_GL=egl or MUJOCO_GL=osmesa before the command" if lacks_opengl else ""
        raise Refusal(told + hint) from error
    if not isinstance(frame, np.ndarray) or frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise Refusal(f"{name} cannot be rendered: its render returns no picture [height, width, 3] of uint8")
    return frame


def use_opengl_without_display() -> None:
    """Let MuJoCo draw by EGL or OSMesa, whichever there is, if there is no display and the user has not chosen.

    MuJoCo reads this choice from the environment variable ``MUJOCO_GL`` when it is imported.
    """
    has_display = "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
    if sys.platform != "linux" or has_display or "MUJOCO_GL" in os.environ or "mujoco" in sys.modules:
        return
    found = [backend for backend, library in BACKENDS.items() if find_library(library)]
    if found:
        os.environ["MUJOCO_GL"] = found[0]
