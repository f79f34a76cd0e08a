"""What a simulator returns, checked as it comes in: it may be the user's."""

from __future__ import annotations

from typing import Any

import numpy as np

from metarl.core.user_code import UserCodeError
from metarl.envs.family import TaskFamily, Transition


def check_observations(family: TaskFamily, observations: Any, episodes: tuple[int, ...]) -> None:
    """Raise UserCodeError unless ``observations`` are [task, episode, observation] of the family's space.

    ``episodes`` is [task, episode].
    """
    _require(family, "observations", observations, (*episodes, *family.observation_space.shape), "biuf")


def check_transition(family: TaskFamily, transition: Any, episodes: tuple[int, ...]) -> None:
    """Raise UserCodeError unless the parts of a Transition have their shapes; ``episodes`` is [task, episode]."""
    if not isinstance(transition, Transition):
        kind = type(transition).__name__
        raise UserCodeError(f"step of the simulator of {family.name} must return a Transition, got {kind}")
    check_observations(family, transition.observations, episodes)
    _require(family, "rewards", transition.rewards, episodes, "biuf")
    _require(family, "terminated", transition.terminated, episodes, "b")
    if transition.successes is not None:
        _require(family, "successes", transition.successes, episodes, "b")


def _require(family: TaskFamily, what: str, array: Any, shape: tuple[int, ...], kinds: str) -> None:
    if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype.kind not in kinds:
        got = f"{array.dtype} {list(array.shape)}" if isinstance(array, np.ndarray) else type(array).__name__
        numbers = "booleans" if kinds == "b" else "numbers"
        raise UserCodeError(
            f"{what} of the simulator of {family.name} must be an array of {numbers} {list(shape)}, got {got}"
        )
