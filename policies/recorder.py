"""The robot's loop: act, tell the reward, and get the episodes that the controller adapts to."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from metarl.policies.controller import Controller
from metarl.policies.device.episodes import Episode


class Recorder:
    """Acts as the controller's policy, exploring, and keeps what ``Controller.adapt`` needs.

    Call ``act``, execute what it returns, call ``reward``, and so on; then ``end_episode``. ``episodes`` are those that
    have ended. Actions are drawn by ``generator``, or by a fresh one that nobody can repeat. ValueError tells of calls
    out of this order, and of bad observations and rewards; the recording then stays as it was.
    """

    def __init__(self, controller: Controller, generator: np.random.Generator | None = None) -> None:
        self.controller = controller
        self.generator = generator or np.random.default_rng()
        self.episodes: list[Episode] = []
        self._observations: list[NDArray[np.float32]] = []
        self._actions: list[NDArray[np.float32]] = []
        self._rewards: list[float] = []

    def act(self, observation: ArrayLike) -> NDArray[np.float32]:
        """The action [action] for an observation [observation], scaled and clipped, ready for the environment."""
        self._require_reward()
        action = self.controller.policy_action(observation, deterministic=False, generator=self.generator)
        if action.ndim != 1:
            raise ValueError(
                f"a recorder takes one observation at a time, of the shape "
                f"[{self.controller.network.observation_size}], got {list(np.shape(observation))}"
            )
        executed = self.controller.executed(action)
        self._observations.append(np.array(observation, np.float32))
        self._actions.append(action)
        return executed

    def reward(self, reward: float) -> None:
        """The reward for the last action."""
        if len(self._rewards) == len(self._actions):
            raise ValueError("there is no action without a reward: call act before reward")
        try:
            value = float(reward)
        except (TypeError, ValueError):
            raise ValueError(f"the reward must be a number, got {reward!r}") from None
        if not math.isfinite(value):
            raise ValueError(f"the reward must be finite, got {value}")
        self._rewards.append(value)

    def end_episode(self) -> None:
        """Adds what was recorded since the last episode to ``episodes``."""
        self._require_reward()
        if not self._rewards:
            raise ValueError("the episode is empty: call act and reward before end_episode")
        self.episodes.append(
            {
                "observations": np.array(self._observations),
                "actions": np.array(self._actions),
                "rewards": np.array(self._rewards, np.float32),
            }
        )
        self._observations, self._actions, self._rewards = [], [], []

    def _require_reward(self) -> None:
        if len(self._rewards) < len(self._actions):
            raise ValueError("the reward for the last action is missing: call reward after every act")
