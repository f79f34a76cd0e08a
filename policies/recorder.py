"""The robot's loop: act, report the reward, and collect the episodes that the controller adapts to."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from metarl.core.errors import Refusal
from metarl.core.text import plural
from metarl.policies.controller import Controller
from metarl.policies.device.episodes import Episode


class Recorder:
    """Act as the controller's policy, exploring, and keep the episodes that ``Controller.adapt`` needs.

    Call ``act``, execute its action, call ``reward``, and so on; then ``end_episode``. After a step that failed, call
    ``discard`` and begin the episode again. ``episodes`` are those that have ended, ``len(recorder)`` is their number.
    Actions are drawn by ``generator``, or by a freshly seeded one. Calls out of this order, and bad observations and
    rewards, raise ValueError and leave the recording as it was.
    """

    def __init__(self, controller: Controller, generator: np.random.Generator | None = None) -> None:
        self.controller = controller
        self.generator = generator or np.random.default_rng()
        self.episodes: list[Episode] = []
        self.discard()

    def __len__(self) -> int:
        return len(self.episodes)

    def __repr__(self) -> str:
        running = plural(len(self._actions), "step")
        return f"<Recorder: {plural(len(self), 'episode')}, {running} of a running one>"

    def act(self, observation: ArrayLike) -> NDArray[np.float32]:
        """Return the action [action] for an observation [observation], scaled and clipped, for the environment."""
        self._require_reward()
        action = self.controller.policy_action(observation, deterministic=False, generator=self.generator)
        if action.ndim != 1:
            raise Refusal(
                f"a recorder takes one observation at a time, of the shape "
                f"[{self.controller.network.observation_size}], got {list(np.shape(observation))}"
            )
        executed = self.controller.executed(action)
        self._observations.append(np.array(observation, np.float32))
        self._actions.append(action)
        return executed

    def reward(self, reward: float) -> None:
        """Record the reward for the last action."""
        if len(self._rewards) == len(self._actions):
            raise Refusal("there is no action without a reward: call act before reward")
        try:
            value = float(reward)
        except (TypeError, ValueError):
            raise Refusal(f"the reward must be a number, got {reward!r}") from None
        if not abs(value) <= float(np.finfo(np.float32).max):
            raise Refusal(f"the reward must be a finite float32 number, got {value}")
        self._rewards.append(value)

    def end_episode(self) -> None:
        """Add the steps since the last episode to ``episodes``."""
        self._require_reward()
        if not self._rewards:
            raise Refusal("the episode is empty: call act and reward before end_episode")
        self.episodes.append(
            {
                "observations": np.array(self._observations),
                "actions": np.array(self._actions),
                "rewards": np.array(self._rewards, np.float32),
            }
        )
        self.discard()

    def discard(self) -> None:
        """Drop the steps since the last episode, e.g. after the robot has failed; the ended episodes stay."""
        self._observations: list[NDArray[np.float32]] = []
        self._actions: list[NDArray[np.float32]] = []
        self._rewards: list[float] = []

    def _require_reward(self) -> None:
        if len(self._rewards) < len(self._actions):
            raise Refusal("the reward for the last action is missing: call reward after every act, or discard")
