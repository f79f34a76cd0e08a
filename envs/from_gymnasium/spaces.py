"""Between the spaces of a Gymnasium environment and the flat arrays that a policy observes and returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete
from numpy.typing import NDArray

from metarl.core.errors import Refusal
from metarl.envs.family import Array

GOAL = "desired_goal"  # what a goal-conditioned environment observes of its task


@dataclass(frozen=True)
class Observations:
    """An observation space, the keys of it that the policy observes if it is a Dict, and the Box that they fill."""

    space: gymnasium.Space[Any]
    keys: tuple[str, ...]
    flat: Box

    def flatten(self, observation: Any) -> Array:
        """Return the observation as one vector; raise Refusal if it does not have the shape of its space."""
        if isinstance(self.space, Dict):
            vector = np.concatenate([_flattened(self.space[key], observation[key]) for key in self.keys])
        else:
            vector = _flattened(self.space, observation)
        if vector.shape != self.flat.shape:
            raise Refusal(
                f"an observation has {vector.size} numbers, the observation space {self.space} {self.flat.shape[0]}"
            )
        return vector

    def parts(self) -> dict[str, int]:
        """Return the size of each part by its key; an observation without keys is one part."""
        if not isinstance(self.space, Dict):
            return {"observation": self.flat.shape[0]}
        return {key: spaces.flatdim(self.space[key]) for key in self.keys}


def observations(name: str, space: gymnasium.Space[Any], keys: Sequence[str] | None) -> Observations:
    """Return how a space is observed as one vector.

    Args:
        name: the family, for messages.
        space: any space that Gymnasium flattens to a Box: a Box of any number of axes, a Dict, a Discrete (one-hot).
        keys: of a Dict, those to observe in this order; all but ``desired_goal`` if None, for the goal is the task.

    Returns:
        The layout; ``keys`` is empty unless the space is a Dict. Raise Refusal if the space has no fixed size or lacks
        a key.
    """
    if not isinstance(space, Dict):
        if keys is not None:
            raise Refusal(f"{name} has no keys to observe: its observation space is {space}")
        return Observations(space, (), _flat_box(name, space))
    names = tuple(key for key in space if key != GOAL) if keys is None else tuple(keys)
    for key in names:
        if key not in space.spaces:
            raise Refusal(f"{name} does not observe '{key}': choose from {', '.join(space)}")
    if not names:
        raise Refusal(f"{name} observes nothing: choose from {', '.join(space)}")
    boxes = [_flat_box(name, space[key]) for key in names]
    low, high = (np.concatenate([getattr(box, bound) for box in boxes]) for bound in ("low", "high"))
    return Observations(space, names, Box(low, high, dtype=np.result_type(low, high).type))


def _flat_box(name: str, space: gymnasium.Space[Any]) -> Box:
    flat = spaces.flatten_space(space) if space.is_np_flattenable else None
    if not isinstance(flat, Box):
        raise Refusal(
            f"the observation space of {name} must have a fixed number of numbers (a Box, a Dict of them, Discrete), "
            f"got {space}"
        )
    return flat


def _flattened(space: gymnasium.Space[Any], observation: Any) -> Array:
    """Return one part as a vector in float64; what is no Box is encoded by Gymnasium."""
    part = observation if isinstance(space, Box) else spaces.flatten(space, observation)
    return np.asarray(part, dtype=np.float64).ravel()


@dataclass(frozen=True)
class Actions:
    """The action space of an environment and the one that the policy acts in: a flat Box, or Discrete from 0 on."""

    space: Box | Discrete
    flat: Box | Discrete

    def drawn(self, random: np.random.Generator) -> Any:
        """Return a uniform action of the environment's space."""
        if isinstance(self.flat, Discrete):
            return self.restore(random.integers(self.flat.n, size=1).astype(np.float64))
        return self.restore(random.uniform(self.flat.low, self.flat.high))

    def restore(self, actions: Array) -> NDArray[Any]:
        """Return actions [..., action], clipped to their bounds, in the shape and type of the environment's space.

        The number of a choice that is NaN becomes the first one, so that the policy is blamed and not the environment.
        """
        if isinstance(self.space, Discrete) or isinstance(self.flat, Discrete):
            assert isinstance(self.space, Discrete) and isinstance(self.flat, Discrete)
            choices = np.nan_to_num(actions[..., 0]).clip(0, self.flat.n - 1)
            restored: NDArray[Any] = self.space.start + choices.astype(self.space.dtype)
            return restored
        clipped = np.clip(actions, self.flat.low, self.flat.high)
        return clipped.astype(self.space.dtype).reshape(*actions.shape[:-1], *self.space.shape)


def actions(name: str, space: gymnasium.Space[Any]) -> Actions:
    """Return how a flat action becomes one of ``space``; raise Refusal unless it is a Box or Discrete."""
    if isinstance(space, MultiDiscrete | MultiBinary):
        raise Refusal(
            f"the action space of {name} must be a Box or Discrete, got {space}: number its combinations in a wrapper "
            "that takes Discrete"
        )
    if isinstance(space, Discrete):
        return Actions(space, Discrete(int(space.n)))
    if not isinstance(space, Box):
        raise Refusal(f"the action space of {name} must be a Box or Discrete, got {space}")
    return Actions(space, Box(space.low.ravel(), space.high.ravel(), dtype=space.dtype.type))
